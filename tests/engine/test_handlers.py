"""The same pod on every runtime handler that is installed."""

import os
import select
import shutil
import signal
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import structs

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.cgroup.stats import read_stats
from rundlet.engine.engine import Engine
from rundlet.engine.handlers import BUILTIN
from rundlet.engine.options import (
    ContainerOptions,
    IdMapping,
    Mount,
    Namespaces,
    PodOptions,
    Resources,
    Security,
    SecurityProfile,
)
from rundlet.engine.settings import USUAL_RUNTIMES, RuntimeSettings, Settings
from rundlet.errors import DeadlineExceeded, Error, FailedPrecondition, InvalidArgument, NotFound
from tests.engine.test_engine import assert_nothing_left, await_exit, await_text, run, shell

pytestmark = pytest.mark.kernel

NAMES = (BUILTIN, *USUAL_RUNTIMES)
TRAP = "trap 'echo bye; exit 3' TERM; echo up; echo no >&2; while true; do sleep 0.05; done"

MAPS = (IdMapping(0, 200000, 65536),)


@pytest.fixture(params=NAMES)
def handler(request: pytest.FixtureRequest) -> str:
    name = request.param
    if name != BUILTIN and shutil.which(name) is None:
        pytest.skip(f"{name} not on this host")
    return name


@pytest.fixture
def pod(engine: Engine, handler: str, tmp_path: Path) -> str:
    return engine.pods.run(pod_options(handler, tmp_path))


def pod_options(handler: str, tmp_path: Path, **fields: object) -> PodOptions:
    fixed = {"name": "pod", "uid": "uid-pod", "runtime_handler": handler, "log_directory": f"{tmp_path}/logs"}
    return PodOptions(**(fixed | fields))


def logged(from_image: str, script: str, **fields: object) -> ContainerOptions:
    return shell(from_image, script, log_path="0.log", **fields)


def lines_of(path: str) -> list[str]:
    """stream, then text."""
    return sorted(
        " ".join(line.split(" ")[1:2] + line.split(" ")[3:]) for line in Path(path).read_text().splitlines()
    )


def test_a_container_lives_and_leaves_nothing(engine, handler, pod, image, settings):
    container = engine.containers.create(pod, logged(image, TRAP))
    assert engine.containers.status(container).state == "created"
    engine.containers.start(container)
    status = engine.containers.status(container)
    assert (status.state, status.runtime_handler) == ("running", handler)
    await_text(status.log_path, "no")
    done = engine.containers.exec_sync(container, ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 7)
    engine.containers.stop(container, 10)
    status = engine.containers.status(container)
    assert (status.state, status.exit_code, status.reason) == ("exited", 3, "Error")
    assert lines_of(status.log_path) == ["stderr no", "stdout bye", "stdout up"]
    engine.containers.remove(container)
    engine.pods.remove(pod)
    assert_nothing_left(settings)
    runtimes = f"{settings.run_root}/runtimes/{handler}"
    assert not os.path.exists(runtimes) or os.listdir(runtimes) == []


def test_exit_codes(engine, handler, pod, image):
    for code in (0, 9):
        container = run(engine, pod, shell(image, f"exit {code}", name=f"exit-{code}"))
        assert await_exit(engine, container).exit_code == code
    container = run(engine, pod, shell(image, "sleep 1000"))
    engine.containers.stop(container, 0)
    assert engine.containers.status(container).exit_code == 137


def test_exec_over_its_time_is_killed(engine, handler, pod, image):
    container = run(engine, pod, shell(image, "sleep 1000"))
    with pytest.raises(DeadlineExceeded):
        engine.containers.exec_sync(container, ["sleep", "987"], timeout_s=0.3)
    shown = engine.containers.exec_sync(container, ["ps"]).stdout
    assert b"sleep 1000" in shown
    assert b"987" not in shown
    with pytest.raises((NotFound, FailedPrecondition)):
        engine.containers.exec_sync(container, ["no-such-program"])


def test_removing_the_pod_kills_and_leaves_nothing(engine, handler, pod, image, settings):
    run(engine, pod, shell(image, "sleep 1000"))
    engine.containers.create(pod, shell(image, "true", name="created"))
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_a_wrong_mount_is_told_and_leaves_nothing(engine, handler, pod, image, settings):
    """The file cannot be mounted over a directory."""
    mounts = (Mount("/etc/passwd/below", "/etc/hostname", readonly=True),)
    with pytest.raises((FailedPrecondition, InvalidArgument)) as told:
        engine.containers.create(pod, shell(image, "true", mounts=mounts))
    assert "\n" not in told.value.message
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_an_unknown_handler_names_those_that_exist(empty_engine, settings):
    with pytest.raises(InvalidArgument) as told:
        empty_engine.pods.run(PodOptions(name="pod", runtime_handler="kata"))
    assert "'kata'" in told.value.message
    assert BUILTIN in told.value.hint
    assert_nothing_left(settings)


def test_user_namespaces_are_refused_where_the_handler_has_none(empty_engine, settings, handler, tmp_path):
    if handler == BUILTIN:
        pytest.skip("the built-in handler has them: tests/engine/test_userns.py")
    security = Security(namespaces=Namespaces(user="pod", uid_mappings=MAPS, gid_mappings=MAPS))
    with pytest.raises(InvalidArgument, match=handler):
        empty_engine.pods.run(pod_options(handler, tmp_path, security=security))
    assert_nothing_left(settings)


# -- runtimes that fail ----------------------------------------------------------


@pytest.fixture
def engine_with(settings: Settings, tmp_path: Path, image: str):
    """An engine whose handler `mine` is a shell script."""
    made = []

    def make(script: str, **fields: object) -> Engine:
        program = tmp_path / "runtime"
        program.write_text("#!/bin/sh\n" + textwrap.dedent(script))
        program.chmod(0o755)
        mine = RuntimeSettings(path=str(program), **fields)
        engine = Engine(structs.replace(settings, runtimes={"mine": mine}))
        made.append(engine)
        engine.images.pull(image)
        return engine

    yield make
    for engine in made:
        for pod in engine.pods.list():
            engine.pods.remove(pod.id)
        engine.close()


def test_a_runtime_that_fails_is_quoted_and_leaves_nothing(engine_with, settings, image, tmp_path):
    engine = engine_with("echo warming up >&2; echo the wheel came off >&2; exit 1")
    pod = engine.pods.run(pod_options("mine", tmp_path))
    with pytest.raises(FailedPrecondition) as told:
        engine.containers.create(pod, logged(image, "true"))
    assert told.value.message == "runtime create: the wheel came off (exit code 1)"
    assert os.listdir(settings.containers_dir) == []
    assert engine.containers.list() == []
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_a_runtime_is_quoted_from_its_log(engine_with, image, tmp_path):
    """The last severe line counts, as docker and conmon have it."""
    engine = engine_with("""
        while [ "$1" != --log ]; do shift; done
        echo '{"level": "error", "msg": "no   wheel"}' > "$2"
        echo '{"level": "debug", "msg": "bye"}' >> "$2"
        exit 2
    """)
    pod = engine.pods.run(pod_options("mine", tmp_path))
    with pytest.raises(FailedPrecondition) as told:
        engine.containers.create(pod, shell(image, "true"))
    assert told.value.message == "runtime create: no wheel (exit code 2)"


def test_a_runtime_that_hangs_is_killed_and_leaves_nothing(engine_with, settings, image, tmp_path):
    engine = engine_with('case "$*" in *create*) sleep 1000;; esac', timeout_s=0.3)
    pod = engine.pods.run(pod_options("mine", tmp_path))
    with pytest.raises(DeadlineExceeded) as told:
        engine.containers.create(pod, shell(image, "true"))
    assert told.value.message == "runtime create: not done within 0.3 s, killed"
    assert engine.containers.list() == []
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_verbs_that_hang_are_killed(engine_with, settings, image, tmp_path):
    """A start that hangs is told, a delete that hangs does not keep the container."""
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc not on this host")
    hang = f'case " $* " in *" start "*|*" delete "*) sleep 1000;; *) exec {runc} "$@";; esac'
    engine = engine_with(hang, timeout_s=1)
    pod = engine.pods.run(pod_options("mine", tmp_path))
    container = engine.containers.create(pod, shell(image, "true"))
    with pytest.raises(DeadlineExceeded, match="start"):
        engine.containers.start(container)
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_a_runtime_that_makes_nothing(engine_with, settings, image, tmp_path):
    engine = engine_with("exit 0")
    pod = engine.pods.run(pod_options("mine", tmp_path))
    with pytest.raises(FailedPrecondition, match="pid"):
        engine.containers.create(pod, shell(image, "true"))
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_a_runtime_that_goes_away_does_not_keep_its_containers(engine_with, settings, image, tmp_path):
    """Stop and remove work without the program, too."""
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc not on this host")
    engine = engine_with(f'exec {runc} "$@"')
    pod = engine.pods.run(pod_options("mine", tmp_path))
    container = run(engine, pod, shell(image, "sleep 1000"))
    (tmp_path / "runtime").write_text("#!/bin/sh\nexit 1\n")
    engine.containers.stop(container, 0)
    assert engine.containers.status(container).exit_code == 137
    engine.pods.remove(pod)
    assert_nothing_left(settings)


def test_half_made_containers_of_a_dead_engine_are_cleared(settings, image, handler, tmp_path):
    """Killed right after the runtime had made it."""
    engine = Engine(settings)
    engine.images.pull(image)
    pod = engine.pods.run(pod_options(handler, tmp_path))
    engine.containers.create(pod, shell(image, "true"))
    with engine._parts.store.database.write() as connection:
        connection.execute("UPDATE containers SET state = 'creating', owner = '1-1-nobody', facts = '{}'")
    engine.close()
    with Engine(settings) as engine:
        assert os.listdir(settings.containers_dir) == []
        assert engine.containers.list() == []
        engine.pods.remove(pod)
    assert_nothing_left(settings)


# -- what a container sees -------------------------------------------------------------

LOOK = """
grep -c . /proc/kcore 2>/dev/null || true
echo 0 2>/dev/null > /proc/sys/kernel/dmesg_restrict && echo wrote
echo x 2>/dev/null > /ro/hostname && echo wrote
ls /sys/firmware | wc -l
hostname
id -u
cat /data/file
"""


def test_what_a_container_sees(engine, handler, pod, image, tmp_path):
    """Masks and read-only paths hold, mounts are there, names are the pod's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_text("from the host\n")
    mounts = (Mount("/data", f"{tmp_path}/data"), Mount("/ro", f"{tmp_path}/data", readonly=True))
    container = run(engine, pod, logged(image, LOOK, mounts=mounts))
    status = await_exit(engine, container)
    lines = [line.split(" ", 3)[3] for line in Path(status.log_path).read_text().splitlines()]
    assert "wrote" not in lines
    assert lines[-4:] == ["0", pod[:12], "0", "from the host"]


def test_seccomp_and_capabilities_hold(engine, handler, pod, image):
    if handler == "runsc":
        pytest.skip("runsc has a kernel of its own, which shows neither")
    security = Security(seccomp=SecurityProfile("runtime-default"))
    container = run(engine, pod, shell(image, "sleep 1000", security=security))
    status = engine.containers.exec_sync(container, ["cat", "/proc/1/status", "/proc/self/status"]).stdout
    facts = dict(line.split(":\t", 1) for line in status.decode().splitlines() if ":\t" in line)
    assert facts["Seccomp"] == "2"
    assert facts["CapBnd"] == facts["CapEff"] == "00000000a80425fb"


def test_another_user(engine, handler, pod, image):
    """bubblewrap needs a user namespace for that, in which another's pid namespace cannot be seen."""
    own_pid = Namespaces(pid="container")
    security = Security(user_id=999, supplemental_groups_policy="strict", namespaces=own_pid)
    script = "id -u; id -g; touch /tmp/x && echo wrote; sleep 1000"
    container = run(engine, pod, logged(image, script, security=security))
    await_text(engine.containers.status(container).log_path, "wrote")
    assert lines_of(engine.containers.status(container).log_path) == [
        "stdout 1000",
        "stdout 999",
        "stdout wrote",
    ]
    assert engine.containers.exec_sync(container, ["id", "-u"]).stdout == b"999\n"
    if handler == "bwrap":
        joined = Security(user_id=999, supplemental_groups_policy="strict")
        with pytest.raises(InvalidArgument, match=r"process\.user\.uid"):
            engine.containers.create(pod, shell(image, "id", name="joined", security=joined))


def test_containers_of_a_pod_share_its_network(engine, handler, pod, image):
    server = run(engine, pod, shell(image, "echo hello | nc -l -p 8080", name="server"))
    ask = "until nc 127.0.0.1 8080; do sleep 0.05; done"
    client = run(engine, pod, logged(image, ask, name="client"))
    status = await_exit(engine, client)
    assert lines_of(status.log_path)[-1] == "stdout hello"
    assert await_exit(engine, server).exit_code == 0


def test_stdin_reaches_the_container(engine, handler, pod, image):
    container = run(engine, pod, logged(image, "read line; echo got $line", stdin=True))
    with closing(engine.containers.attach(container, stdin=True, stdout=True, stderr=True)) as streams:
        streams.write(b"hello\n")
        status = await_exit(engine, container)
    assert lines_of(status.log_path) == ["stdout got hello"]


def test_a_terminal(engine, handler, pod, image):
    if handler == "bwrap":
        with pytest.raises(InvalidArgument, match="process.terminal"):
            engine.containers.create(pod, shell(image, "tty", tty=True))
        return
    container = run(engine, pod, logged(image, "test -t 0 && test -t 1 && echo terminal", tty=True))
    status = await_exit(engine, container)
    assert lines_of(status.log_path) == ["stdout terminal"]


def memory_limit_of(engine: Engine, container: str) -> int:
    group = Group(detect_layout(), engine._parts.containers.get(container).facts.cgroups_path)
    return read_stats(group).limit_bytes


def test_limits_are_set_and_changed(engine, handler, pod, image):
    limits = Resources(memory_limit_bytes=64 << 20, pids_limit=60)
    container = run(engine, pod, shell(image, "sleep 1000", resources=limits))
    assert memory_limit_of(engine, container) == 64 << 20
    engine.containers.update_resources(container, Resources(memory_limit_bytes=128 << 20))
    assert memory_limit_of(engine, container) == 128 << 20
    with pytest.raises(Error):
        engine.containers.update_resources(container, Resources(cpuset_cpus="4000"))


def kill_supervisor(engine: Engine) -> None:
    """And wait for the next: what is asked of a dying one may be lost."""
    pidfd = os.pidfd_open(engine._parts.keeper.call("version", {}).message["pid"])
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)


def test_a_killed_supervisor_loses_nothing(engine, handler, pod, image):
    quick = run(engine, pod, logged(image, "echo a; sleep 0.7; echo b; exit 9", name="quick"))
    slow = run(engine, pod, shell(image, TRAP))
    created = engine.containers.create(pod, shell(image, "exit 4", name="created"))
    kill_supervisor(engine)
    status = await_exit(engine, quick)
    assert status.exit_code == 9
    assert lines_of(status.log_path) == ["stdout a", "stdout b"]
    engine.containers.start(created)
    assert await_exit(engine, created).exit_code == 4
    assert engine.containers.exec_sync(slow, ["true"]).exit_code == 0
    engine.containers.stop(slow, 10)
    assert engine.containers.status(slow).exit_code == 3


def test_the_kubelet_knows_a_handler_without_recursive_readonly_mounts(
    settings: Settings, image: str, tmp_path: Path
) -> None:
    settings = structs.replace(settings, runtimes={"poor": RuntimeSettings(path="/bin/false")})
    with Engine(settings) as engine:
        engine.images.pull(image)
        pod = engine.pods.run(PodOptions("p", runtime_handler="poor"))
        mount = Mount("/v", host_path=str(tmp_path), readonly=True, recursive_readonly=True)
        with pytest.raises(InvalidArgument, match=r"^RROUnsupported: mounts\["):
            engine.containers.create(pod, ContainerOptions("c", image, mounts=(mount,)))
        engine.pods.remove(pod)
