"""The supervisor is killed; nobody else notices."""

import os
import select
import signal
from pathlib import Path

import pytest

from rundlet.errors import Unavailable
from rundlet.keeper.client import Keeper
from tests.keeper.bundle import config, plan
from tests.keeper.conftest import read_log

pytestmark = pytest.mark.kernel


def kill_supervisor(keeper: Keeper) -> None:
    pid = keeper.call("version", {}).message["pid"]
    pidfd = os.pidfd_open(pid)
    os.kill(pid, signal.SIGKILL)
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)
    keeper.close()


def test_a_container_outlives_the_supervisor_with_its_log_and_exit_code(
    keeper: Keeper, bundle: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; read x; echo last; exit 7"
    keeper.create(plan("c", config("sh", "-c", script), bundle), log_path=str(log), stdin=True)
    stdin = os.open(f"{keeper.run_root}/keeper/containers/c/stdin", os.O_RDWR)
    keeper.start("c")
    kill_supervisor(keeper)
    assert keeper.state("c").status == "running"
    os.write(stdin, b"\n")
    os.close(stdin)
    record = keeper.wait("c", 20)
    assert record is not None
    assert record.exit_code == 7
    lines = read_log(log, "stdout").splitlines()
    assert lines[-1] == "last"
    assert set(lines) == {*(f"line {number}" for number in range(2000)), "last"}


def test_an_exit_while_no_supervisor_is_there_is_recorded(keeper: Keeper, bundle: Path) -> None:
    pid = keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    kill_supervisor(keeper)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGKILL)
    record = keeper.wait("c", 20)
    assert record is not None
    assert record.exit_code == 137


def test_a_created_container_can_be_started_by_the_next_supervisor(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sh", "-c", "exit 3"), bundle))
    kill_supervisor(keeper)
    assert keeper.state("c").status == "created"
    keeper.start("c")
    record = keeper.wait("c", 20)
    assert record is not None
    assert record.exit_code == 3


def test_pods_outlive_the_supervisor(keeper: Keeper) -> None:
    pod = keeper.make_pod("p", ("net", "pid"))
    for fd in (pod.netns_fd, pod.route_fd):
        os.close(fd)
    kill_supervisor(keeper)
    assert keeper.list() == {}
    assert os.path.exists(f"/proc/{pod.init_pid}")
    keeper.remove_pod("p")
    assert not os.path.exists(pod.paths["net"])


def test_a_call_in_flight_fails_with_a_word(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    watch = keeper.watch()
    kill_supervisor(keeper)
    with pytest.raises(Unavailable):
        next(iter(watch))
