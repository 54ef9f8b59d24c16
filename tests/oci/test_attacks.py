"""Attacks by images, configurations and neighbours on rundlet-runtime; each names the hole that it plays (SECURITY.md)."""

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.oci.runtime import Change, Outcome, Runtime, make_config, write_config

pytestmark = pytest.mark.kernel

KEYCTL_SETPERM = 5
POSSESSOR_ONLY = 0x3F00_0000
SESSION_KEYRING = -3
SYSCALLS = {"x86_64": (248, 250), "aarch64": (217, 219)}  # add_key(2), keyctl(2)


def add_bind(config: dict[str, Any], source: Path | str, destination: str) -> None:
    mount = {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind"]}
    config["mounts"].append(mount)


def run(ours: Runtime, bundle: Path, *argv: str, change: Change | None = None) -> Outcome:
    write_config(bundle, make_config(*argv, change=change))
    outcome = ours("run", "--bundle", str(bundle), "c1")
    assert ours.leftovers() == []
    return outcome


# -- the interpreter of the host ----------------------------------------------------------


@pytest.mark.parametrize("how", ["program", "link", "script", "script of a script"])
def test_the_interpreter_of_the_host_cannot_be_run_inside(ours: Runtime, bundle: Path, how: str) -> None:
    """CVE-2019-5736: an image whose program is /proc/self/exe gets the host's python to run, and then to write to."""
    program = bundle / "rootfs/bin/attack"
    if how == "link":
        program.symlink_to("/proc/self/exe")
    elif how != "program":
        program.write_text("#!/proc/self/exe -c import\n")
        program.chmod(0o755)
    if how == "script of a script":
        outer = bundle / "rootfs/bin/outer"
        outer.write_text("#!/bin/attack\n")
        outer.chmod(0o755)
    args = {"program": "/proc/self/exe", "script of a script": "outer"}.get(how, "attack")
    outcome = run(ours, bundle, args, "-c", "print(1)")
    assert (outcome.code, outcome.stdout) == (1, "")
    assert "a link of /proc to something open" in outcome.stderr
    write_config(bundle, make_config("sleep", "1000"))
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    outcome = ours("exec", "c1", args, "-c", "print(1)")
    assert (outcome.code, outcome.stdout) == (255, "")
    assert "a link of /proc to something open" in outcome.stderr


@pytest.mark.parametrize("how", ["program", "link", "script"])
def test_the_interpreter_of_the_host_is_no_hook_of_the_container(
    ours: Runtime, bundle: Path, how: str
) -> None:
    """CVE-2019-5736 by startContainer hooks, whose files are the image's."""
    hook = bundle / "rootfs/bin/hook"
    if how == "link":
        hook.symlink_to("/proc/self/exe")
    else:
        hook.write_text("#!/proc/self/exe -c open('/ran','w')\n")
        hook.chmod(0o755)
    path = "/proc/self/exe" if how == "program" else "/bin/hook"

    def change(config: dict[str, Any]) -> None:
        config["hooks"] = {"startContainer": [{"path": path, "args": ["hook", "-c", "open('/ran','w')"]}]}

    outcome = run(ours, bundle, "true", change=change)
    assert outcome.code == 1
    assert "a link of /proc to something open" in outcome.stderr
    assert not (bundle / "rootfs/ran").exists()


# -- /proc under somebody else's control ------------------------------------------------


@pytest.mark.parametrize(
    "destination", ["/proc", "/proc/self", "/proc/sys/kernel", "/data/link", "/data/deep"]
)
def test_nothing_is_mounted_over_proc_also_by_a_link(ours: Runtime, bundle: Path, destination: str) -> None:
    """CVE-2019-16884, CVE-2023-27561: a volume over /proc catches what is written for the kernel."""
    (bundle / "rootfs/data/link").symlink_to("/proc")
    (bundle / "rootfs/data/deep").symlink_to("../proc/self/attr")
    (bundle / "volume").mkdir()
    outcome = run(
        ours, bundle, "true", change=lambda config: add_bind(config, bundle / "volume", destination)
    )
    assert outcome.code == 1
    assert "nothing but procfs may be mounted on /proc" in outcome.stderr


@pytest.mark.parametrize("destination", ["/proc", "/sys"])
def test_procfs_and_sysfs_do_not_follow_a_link_of_the_image(
    ours: Runtime, bundle: Path, destination: str
) -> None:
    """CVE-2019-19921: /proc as a link into a volume that another container can change."""
    (bundle / f"rootfs{destination}").symlink_to("/data")
    outcome = run(ours, bundle, "true")
    assert outcome.code == 1
    assert "an ordinary directory is needed" in outcome.stderr


def test_what_lxcfs_shows_may_be_mounted(ours: Runtime, bundle: Path) -> None:
    (bundle / "uptime").write_text("1.00 1.00\n")

    def change(config: dict[str, Any]) -> None:
        add_bind(config, bundle / "uptime", "/proc/uptime")

    assert run(ours, bundle, "cat", "/proc/uptime", change=change).stdout == "1.00 1.00\n"


@pytest.mark.parametrize("link", ["/proc/version", "../proc/self/environ"])
def test_a_terminal_is_not_bound_over_proc_by_a_link_for_console(
    ours: Runtime, bundle: Path, link: str, tmp_path: Path
) -> None:
    """CVE-2025-52565: /dev/console as a link to a file of procfs."""
    (bundle / "rootfs/dev/pts").mkdir(parents=True)
    (bundle / "rootfs/dev/console").symlink_to(link)

    def change(config: dict[str, Any]) -> None:
        config["process"]["terminal"] = True
        config["mounts"] = [item for item in config["mounts"] if item["destination"] != "/dev"]

    write_config(bundle, make_config("true", change=change))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        outcome = ours("create", "--bundle", str(bundle), "--console-socket", str(tmp_path / "console"), "c1")
    assert outcome.code == 1
    assert "nothing but procfs may be mounted on /proc" in outcome.stderr
    assert ours.leftovers() == []


def test_sysctls_and_limits_are_not_written_into_the_images_own_proc(ours: Runtime, bundle: Path) -> None:
    """CVE-2025-52881: files of the image where procfs is expected take what is meant for the kernel."""
    fake = bundle / "rootfs/proc/sys/net/ipv4"
    fake.mkdir(parents=True)
    (fake / "ip_forward").write_text("untouched")

    def change(config: dict[str, Any]) -> None:
        config["mounts"] = [item for item in config["mounts"] if item["destination"] != "/proc"]
        config["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}, maskedPaths=[], readonlyPaths=[])

    outcome = run(ours, bundle, "cat", "/proc/sys/net/ipv4/ip_forward", change=change)
    assert (outcome.stdout, (fake / "ip_forward").read_text()) == ("untouched", "untouched")


# -- races ---------------------------------------------------------------------------

_SWAP = """
import ctypes, os, sys
rename = ctypes.CDLL(None).renameat2
os.chdir(sys.argv[1])
print(flush=True)
while True:
    rename(-100, b"target", -100, b"link", 2)  # RENAME_EXCHANGE
"""


def test_a_link_that_is_swapped_while_mounts_are_made_never_reaches_the_host(
    ours: Runtime, bundle: Path, tmp_path: Path
) -> None:
    """CVE-2021-30465, CVE-2025-31133: the race, where the other tests have a link that stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    shared = bundle / "rootfs/data"
    (shared / "target").mkdir()
    (shared / "link").symlink_to("../../../../../../../../../.." + str(outside))
    (bundle / "volume").mkdir()
    (bundle / "volume/secret").write_text("s")
    write_config(
        bundle,
        make_config(
            "ls", "/data/target", change=lambda config: add_bind(config, bundle / "volume", "/data/target")
        ),
    )
    before = Path("/proc/self/mountinfo").read_text()
    argv = [sys.executable, "-I", "-S", "-c", _SWAP, str(shared)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as swapper:
        try:
            assert swapper.stdout is not None
            swapper.stdout.readline()
            for _ in range(15):
                ours("run", "--bundle", str(bundle), "c1")
                assert os.listdir(outside) == []
        finally:
            swapper.kill()
    assert Path("/proc/self/mountinfo").read_text() == before


# -- what a container inherits ---------------------------------------------------------


@pytest.fixture
def leaks(tmp_path: Path) -> Iterator[list[int]]:
    """Descriptors of a directory of the host that a careless engine leaves open; `marker` is in it."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/marker").touch()
    first = os.open(tmp_path / "host", os.O_RDONLY | os.O_DIRECTORY)
    opened = [first, fcntl.fcntl(first, fcntl.F_DUPFD, 7)]
    yield opened
    for fd in opened:
        os.close(fd)


def test_no_descriptor_is_left_to_the_program(ours: Runtime, bundle: Path, leaks: list[int]) -> None:
    """CVE-2024-21626: what the engine holds open of the host."""
    write_config(bundle, make_config("ls", "/proc/self/fd"))
    assert ours.ok("run", "--bundle", str(bundle), "c1", pass_fds=leaks).split() == ["0", "1", "2", "3"]
    write_config(bundle, make_config("sleep", "1000"))
    ours.ok("run", "-d", "--bundle", str(bundle), "c1", pass_fds=leaks)
    assert ours.ok("exec", "c1", "ls", "/proc/self/fd", pass_fds=leaks).split() == ["0", "1", "2", "3"]


def test_a_descriptor_is_no_working_directory(ours: Runtime, bundle: Path, leaks: list[int]) -> None:
    """CVE-2024-21626: /proc/self/fd/N leads out while somebody holds a directory of the host."""
    write_config(bundle, make_config("sleep", "1000"))
    ours.ok("run", "-d", "--bundle", str(bundle), "c1")
    for number in range(3, max(leaks) + 1):
        path = f"/proc/self/fd/{number}"
        config = make_config("ls")
        config["process"]["cwd"] = path
        write_config(bundle, config)
        outcomes = (
            ours("run", "--bundle", str(bundle), "c2", pass_fds=leaks),
            ours("exec", "--cwd", path, "c1", "ls", pass_fds=leaks),
        )
        for outcome in outcomes:
            assert "marker" not in outcome.stdout, (path, outcome)


def add_session_key() -> str:
    """A key that only who has this session's keyring can see; its description.  Skips where there are none."""
    if os.uname().machine not in SYSCALLS:
        pytest.skip(f"key syscalls of {os.uname().machine} are not known to this test")
    add_key, keyctl = SYSCALLS[os.uname().machine]
    libc = ctypes.CDLL(None, use_errno=True)
    name = f"rundlet-{os.urandom(4).hex()}"
    key = libc.syscall(add_key, b"user", name.encode(), b"secret", ctypes.c_size_t(6), SESSION_KEYRING)
    if key < 0:
        pytest.skip(f"the kernel has no keys: {os.strerror(ctypes.get_errno())}")
    assert libc.syscall(keyctl, KEYCTL_SETPERM, key, POSSESSOR_ONLY) == 0
    return name


def test_the_keys_of_the_callers_session_stay_with_it(ours: Runtime, bundle: Path) -> None:
    """Session keyrings cross exec(2) and every namespace: a container needs its own."""
    name = add_session_key()

    def change(config: dict[str, Any]) -> None:
        config["linux"]["maskedPaths"] = []

    assert name in Path("/proc/keys").read_text()
    assert name not in run(ours, bundle, "cat", "/proc/keys", change=change).stdout
    shared = ours.ok("run", "--no-new-keyring", "--bundle", str(bundle), "c1")
    assert name in shared, "the test looks at the right place"


def test_a_waiting_process_gives_nothing_to_its_neighbours(ours: Runtime, bundle: Path) -> None:
    """CVE-2016-9962: another container of the same PID namespace looks into one that has not started."""

    def share(config: dict[str, Any]) -> None:
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [item for item in spaces if item["type"] != "pid"]

    write_config(bundle, make_config("sleep", "1000", change=share))
    ours.ok("create", "--bundle", str(bundle), "c1")
    pid = ours.state("c1")["pid"]
    script = f"cd /proc/{pid}; readlink exe fd/0 cwd; cat environ; cat maps; ls root/"
    write_config(bundle, make_config("sh", "-c", script, change=share))
    outcome = ours("run", "--bundle", str(bundle), "c2")
    assert outcome.stdout == ""
    assert outcome.stderr.count("ermission denied") >= 3, outcome.stderr


# -- control groups ---------------------------------------------------------------------


def test_the_host_runs_nothing_for_a_container_by_release_agent(ours: Runtime, bundle: Path) -> None:
    """CVE-2022-0492: version 1's release_agent is a program that the host runs."""
    script = """for name in /sys/fs/cgroup/* ; do
        [ -e $name/release_agent ] && echo found $name
        echo 1 >$name/notify_on_release && echo wrote $name
    done 2>/dev/null
    mkdir /tmp/group; mount -t cgroup -o memory cgroup /tmp/group && echo mounted
    mount -t tmpfs none /tmp/group && echo mounted
    exit 0"""

    def change(config: dict[str, Any]) -> None:
        config["mounts"].append(
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        )

    outcome = run(ours, bundle, "sh", "-c", script, change=change)
    assert (outcome.code, outcome.stdout) == (0, ""), outcome


def test_a_container_cannot_signal_the_runtimes_own_processes(ours: Runtime, bundle: Path) -> None:
    """The pid that a container may kill is one of its own namespace; -1 is all of them."""
    with subprocess.Popen(["sleep", "1000"]) as bystander:
        outcome = run(ours, bundle, "sh", "-c", "kill -9 -1; true")
        assert outcome.code in (0, 137), outcome
        assert bystander.poll() is None
        bystander.send_signal(signal.SIGKILL)


def test_the_state_of_a_container_is_not_its_own_to_read(ours: Runtime, bundle: Path) -> None:
    """config.json of another container may hold secrets in its environment."""
    write_config(bundle, make_config("sleep", "1000"))
    ours.ok("create", "--bundle", str(bundle), "c1")
    assert os.stat(ours.root / "c1/config.json").st_mode & 0o077 == 0
    assert json.loads(ours.ok("state", "c1"))["status"] == "created"
