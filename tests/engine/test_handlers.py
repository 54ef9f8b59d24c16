"""The same pod on every runtime handler that is installed."""

import os
import shutil
import textwrap
from pathlib import Path

import pytest
from msgspec import structs

from rundlet.engine.engine import Engine
from rundlet.engine.handlers import BUILTIN
from rundlet.engine.options import ContainerOptions, Mount, PodOptions
from rundlet.engine.settings import USUAL_RUNTIMES, RuntimeSettings, Settings
from rundlet.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from tests.engine.test_engine import assert_nothing_left, await_exit, await_text, run, shell

pytestmark = pytest.mark.kernel

NAMES = (BUILTIN, *USUAL_RUNTIMES)
TRAP = "trap 'echo bye; exit 3' TERM; echo up; echo no >&2; while true; do sleep 0.05; done"


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
    with pytest.raises(DeadlineExceeded, match="mine"):
        engine.containers.create(pod, shell(image, "true"))
    assert engine.containers.list() == []
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
