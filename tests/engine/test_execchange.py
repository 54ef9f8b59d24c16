"""Further processes that differ from the container's first."""

import pytest

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, ExecOptions, PodOptions
from rundlet.errors import DeadlineExceeded, InvalidArgument

pytestmark = pytest.mark.kernel


@pytest.fixture
def running(engine: Engine, image: str) -> str:
    pod = engine.pods.run(PodOptions(name="exec", connected=False))
    options = ContainerOptions(name="main", image=image, command=("sleep", "600"), env=(("KEPT", "1"),))
    container = engine.containers.create(pod, options)
    engine.containers.start(container)
    return container


def run(engine: Engine, container: str, script: str, options: ExecOptions) -> str:
    return engine.containers.exec_sync(container, ("sh", "-c", script), 10, options=options).stdout.decode()


def test_variables_and_directory_are_its_own(engine: Engine, running: str) -> None:
    options = ExecOptions(env=(("MINE", "a b"), ("KEPT", "2")), working_dir="/etc")
    assert run(engine, running, "echo $MINE $KEPT $FROM; pwd", options) == "a b 2 image\n/etc\n"
    assert run(engine, running, "echo $KEPT; pwd", ExecOptions()) == "1\n/data\n"


def test_a_user_is_looked_up_in_the_container_as_it_is_now(engine: Engine, running: str) -> None:
    assert "uid=999(redis) gid=1000(redis)" in run(engine, running, "id", ExecOptions(user="redis"))
    run(engine, running, "echo new:x:77:0::/:/bin/sh >> /etc/passwd", ExecOptions())
    assert run(engine, running, "id -u", ExecOptions(user="new")) == "77\n"
    with pytest.raises(InvalidArgument):
        run(engine, running, "id", ExecOptions(user="nobody-of-that-name"))


def test_rights_are_more_when_asked_for(engine: Engine, running: str) -> None:
    script = "cat /proc/self/status"
    plain = run(engine, running, script, ExecOptions())
    more = run(engine, running, script, ExecOptions(privileged=True))
    assert [line for line in plain.splitlines() if "CapEff" in line] != [
        line for line in more.splitlines() if "CapEff" in line
    ]


def test_input_is_read_however_long_it_is(engine: Engine, running: str) -> None:
    data = b"0123456789abcdef" * (1 << 16)
    result = engine.containers.exec_sync(running, ("cat",), 10, stdin=data)
    assert result.stdout == data


def test_input_that_nobody_reads_does_not_block(engine: Engine, running: str) -> None:
    result = engine.containers.exec_sync(running, ("true",), 10, stdin=b"x" * (1 << 20))
    assert result.exit_code == 0


def test_input_ends(engine: Engine, running: str) -> None:
    assert engine.containers.exec_sync(running, ("cat",), 10, stdin=b"").stdout == b""


def test_output_over_its_limit_is_dropped(engine: Engine, running: str) -> None:
    argv = ("dd", "if=/dev/zero", "bs=1000", "count=1000")
    assert len(engine.containers.exec_sync(running, argv, 10, output_limit_bytes=5000).stdout) == 5000


def test_a_reader_of_endless_input_is_killed_in_time(engine: Engine, running: str) -> None:
    with pytest.raises(DeadlineExceeded):
        engine.containers.exec_sync(running, ("sh", "-c", "sleep 60"), 0.2, stdin=b"x" * (1 << 20))
