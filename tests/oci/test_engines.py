"""Debian's podman and containerd with rundlet-runtime as their runtime."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.oci.images import write_layer, write_oci_archive
from tests.oci.runtime import find_ours, find_peer, make_rootfs

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

IMAGE = "docker.io/library/box:latest"
TIMEOUT_S = 30.0

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("image"))


def call(
    *argv: str, env: dict[str, str] | None = None, stdin: bytes | None = None
) -> subprocess.CompletedProcess[str]:
    """A command of an engine; its output as text, without its monitors' pipes to wait for."""
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False, env=env)
    return subprocess.CompletedProcess(
        argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done
    return done.stdout


# -- podman -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def podman(rootfs: Path) -> Iterator[Call]:
    """Its storage and state in a directory of their own; `box` is its only image.

    The directory has a short name: where conmon's sockets get more than the 107 bytes of
    unix(7), every `podman run` waits 20 s for an exit code that never comes.
    """
    with tempfile.TemporaryDirectory(prefix="pod-") as directory:
        yield from make_podman(Path(directory), rootfs)


def make_podman(directory: Path, rootfs: Path) -> Iterator[Call]:
    program, conmon, ours = find_peer("podman"), find_peer("conmon"), find_ours()
    (directory / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/root"\nrunroot = "{directory}/run"\n'
    )
    (directory / "containers.conf").write_text(
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nconmon_path = ["{conmon}"]\n'
        'runtime_supports_json = ["rundlet-runtime"]\n'
        '[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["/usr/lib/cni"]\n'
    )
    (directory / "registries.conf").write_text("")
    (directory / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    env = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "CONTAINERS_CONF": f"{directory}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{directory}/storage.conf",
        "CONTAINERS_REGISTRIES_CONF": f"{directory}/registries.conf",
    }
    base = [
        program,
        "--runtime",
        ours,
        "--tmpdir",
        f"{directory}/tmp",
        "--network-config-dir",
        f"{directory}/net",
    ]

    def run(*argv: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        return call(*base, *argv, env=env, stdin=stdin)

    ok(run("import", "--change", "ENV PATH=/bin", "-", "box", stdin=write_layer(rootfs)))
    yield run
    run("rm", "--force", "--all", "--time", "0")


def box(*command: str, flags: tuple[str, ...] = ()) -> list[str]:
    return ["run", "--network", "none", *flags, "box", *command]


def test_podman_runs_a_container(podman: Call) -> None:
    done = podman(*box("sh", "-c", "echo out; echo err >&2; exit 7", flags=("--rm",)))
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err\n" in done.stderr


def test_podman_passes_stdin_user_limits_and_environment(podman: Call) -> None:
    flags = (
        "--rm",
        "-i",
        "--user",
        "1000:1000",
        "--env",
        "A=b",
        "--workdir",
        "/data",
        "--pids-limit",
        "50",
        "--memory",
        "64m",
    )
    script = "cat; id -u; echo $A; pwd; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    done = podman(*box("sh", "-c", script, flags=flags), stdin=b"in\n")
    assert ok(done).split() == ["in", "1000", "b", "/data", "50", str(64 << 20)]


def test_podman_with_a_terminal(podman: Call) -> None:
    assert ok(podman(*box("tty", flags=("--rm", "-t")))) == "/dev/pts/0\r\n"


def test_podman_exec_logs_pause_and_stop(podman: Call) -> None:
    ok(
        podman(
            *box(
                "sh",
                "-c",
                "trap 'exit 5' TERM; echo started; while :; do sleep 0.05; done",
                flags=("-d", "--name", "d1"),
            )
        )
    )
    assert ok(podman("exec", "d1", "sh", "-c", "echo inside; id -u")) == "inside\n0\n"
    assert podman("exec", "d1", "sh", "-c", "exit 3").returncode == 3
    assert podman("exec", "-t", "d1", "tty").stdout.startswith("/dev/pts/")
    assert podman("exec", "d1", "nosuch").returncode == 127
    ok(podman("pause", "d1"))
    assert ok(podman("ps", "--all", "--format", "{{.State}}")) == "Paused\n"
    ok(podman("unpause", "d1"))
    assert ok(podman("logs", "d1")) == "started\n"
    ok(podman("stop", "d1"))
    assert json.loads(ok(podman("inspect", "d1")))[0]["State"]["ExitCode"] == 5
    ok(podman("rm", "d1"))


def test_podman_hears_of_a_missing_program(podman: Call) -> None:
    done = podman(*box("nosuch", flags=("--rm",)))
    assert done.returncode == 127
    assert "executable file not found in $PATH" in done.stderr


def test_podman_privileged_and_init(podman: Call) -> None:
    assert ok(podman(*box("echo", "fine", flags=("--rm", "--privileged")))) == "fine\n"


def test_podman_with_a_bridge(podman: Call) -> None:
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip("containernetworking-plugins is not on this host")
    find_peer("iptables")
    try:
        shown = ok(podman("run", "--rm", "--network", "podman", "box", "ip", "addr", "show", "eth0"))
        assert "inet 10.88." in shown
    finally:  # the plugin leaves its bridge, whose route hides every other network with these addresses
        call("ip", "link", "delete", "cni-podman0")


def test_podman_with_a_user_namespace(podman: Call) -> None:
    flags = ("--rm", "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    assert ok(podman(*box("cat", "/proc/self/uid_map", flags=flags))).split() == ["0", "100000", "65536"]


# -- containerd -------------------------------------------------------------------


@pytest.fixture(scope="module")
def ctr(tmp_path_factory: pytest.TempPathFactory, rootfs: Path) -> Iterator[Call]:
    """A containerd of our own, its socket and state in a directory; `box` is its only image."""
    program, client = find_peer("containerd"), find_peer("ctr")
    directory = tmp_path_factory.mktemp("containerd")
    socket = f"{directory}/containerd.sock"
    (directory / "config.toml").write_text(
        f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\n  address = "{socket}"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\n  path = "{directory}/opt"\n'
    )
    with open(directory / "log", "wb") as log:
        daemon = subprocess.Popen([program, "--config", f"{directory}/config.toml"], stdout=log, stderr=log)
    deadline_s = time.monotonic() + TIMEOUT_S
    while call(client, "--address", socket, "version").returncode:
        assert daemon.poll() is None, (directory / "log").read_text()
        assert time.monotonic() < deadline_s

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return call(client, "--address", socket, *argv)

    write_oci_archive(rootfs, directory / "image.tar", IMAGE)
    ok(run("images", "import", f"{directory}/image.tar"))
    yield run
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(TIMEOUT_S)


def create(*argv: str) -> list[str]:
    """`ctr run` of the image, vfs-like snapshots: an overlay on the node's overlay is not always possible."""
    return [
        "run",
        "--snapshotter",
        "native",
        "--runtime",
        "io.containerd.runc.v2",
        "--runc-binary",
        find_ours(),
        *argv,
    ]


def test_containerd_runs_a_container(ctr: Call) -> None:
    assert ok(ctr(*create("--rm", IMAGE, "t1", "echo", "hello"))) == "hello\n"
    assert ctr(*create("--rm", IMAGE, "t2", "sh", "-c", "exit 9")).returncode == 9


def test_containerd_exec_pause_and_kill(ctr: Call) -> None:
    ok(ctr(*create("--detach", IMAGE, "t3", "sleep", "1000")))
    assert ok(ctr("tasks", "exec", "--exec-id", "e1", "t3", "id", "-u")) == "0\n"
    assert ctr("tasks", "exec", "--exec-id", "e2", "t3", "sh", "-c", "exit 4").returncode == 4
    ok(ctr("tasks", "pause", "t3"))
    assert "PAUSED" in ok(ctr("tasks", "list"))
    ok(ctr("tasks", "resume", "t3"))
    assert "memory.usage_in_bytes" in ok(ctr("tasks", "metrics", "t3"))
    ok(ctr("tasks", "kill", "--signal", "SIGKILL", "t3"))
    deadline_s = time.monotonic() + TIMEOUT_S
    while "STOPPED" not in ok(ctr("tasks", "list")):
        assert time.monotonic() < deadline_s
    ctr("tasks", "rm", "t3")
    ok(ctr("containers", "rm", "t3"))


def test_containerd_hears_of_a_missing_program(ctr: Call) -> None:
    done = ctr(*create("--rm", IMAGE, "t4", "nosuch"))
    assert done.returncode == 1
    assert "exec 'nosuch': executable file not found in $PATH" in done.stderr
