"""Whoever minds a container is killed at a named step: nothing is lost and nothing is done twice.

A container that fails once more than it may be restarted has exactly two lives, one counted restart and
no network in the end, whichever process was killed in between and wherever.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from rundlet.failpoint import END, FILE_BYTES, WAIT, Failpoints
from rundlet.keeper.client import Keeper
from rundlet.local.machine import Machine
from rundlet.local.options import RestartPolicy, RunOptions
from tests.keeper.deaths import kill_and_wait, kill_keeper
from tests.local.test_minder import find_minders

pytestmark = pytest.mark.kernel

PATIENCE_S = 15.0
RESTART = (
    "local.put-off:before", "local.put-off:after",
    "container.delete:before", "container.process:after",
    "container.revive:before", "container.revive:after",
    "container.start:before", "container.start:after",
    "container.mark-started:after",
    "local.count:before", "local.count:after", "keeper.remove_pod:after",
)  # fmt: skip
KEEPER = (
    "keeper.note-minder:before", "keeper.start-minder:after", "keeper.note-minder:after", "keeper.forget-minder:before",
)  # fmt: skip


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        select.select([], [], [], 0.01)


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Failpoints]:
    """Seen by the keeper and by all that it starts; not by the test's own process."""
    path = tmp_path / "failpoints"
    path.write_bytes(bytes(FILE_BYTES))
    monkeypatch.setenv("RUNDLET_FAILPOINTS", str(path))
    points = Failpoints(str(path))
    yield points
    points.let_go()


def fail_twice(machine: Machine, asked: RunOptions) -> None:
    policy = RestartPolicy("on-failure", 1)
    machine.containers.run(
        replace(asked, name="c", command=("sh", "-c", "echo life; exit 3"), restart=policy)
    )


def await_the_end(machine: Machine) -> None:
    """Two lives, one restart, the network gone, and the minder with it."""
    pod_id = machine.containers.get("c").pod_id
    wait_until(lambda: machine.engine.pods.status(pod_id).state == "notready")
    wait_until(lambda: not find_minders(machine))
    found = machine.containers.get("c")
    assert (found.state, found.exit_code, found.restarts) == ("exited", 3, 1)
    assert Path(found.log_path).read_text().count("life") == 2
    restarts = [entry for entry in machine.events() if entry.action == "restart"]
    assert len(restarts) <= 1
    assert len([entry for entry in machine.events() if entry.action == "start"]) == 2


@pytest.mark.parametrize("point", RESTART)
def test_a_hand_that_dies_is_followed_by_one_that_goes_on(
    machine: Machine, asked: RunOptions, points: Failpoints, point: str
) -> None:
    points.arm(point, END)
    fail_twice(machine, asked)
    wait_until(points.is_reached)
    await_the_end(machine)


@pytest.mark.parametrize("victim", ["minder", "supervisor", "anchor", "both"])
def test_a_killed_minder_or_keeper_loses_no_restart(
    machine: Machine, asked: RunOptions, points: Failpoints, victim: str
) -> None:
    points.arm("container.revive:before", WAIT)
    fail_twice(machine, asked)
    wait_until(points.is_reached)
    if victim == "minder":
        kill_and_wait(min(find_minders(machine)))
    else:
        kill_keeper(Keeper(machine.settings.places.run_root), victim)
    points.let_go()
    await_the_end(machine)


@pytest.mark.parametrize("point", KEEPER)
def test_a_keeper_that_dies_over_its_minder_has_one_afterwards(
    machine: Machine, asked: RunOptions, points: Failpoints, point: str
) -> None:
    points.arm(point, WAIT)
    starting = threading.Thread(target=fail_twice, args=(machine, asked))
    starting.start()
    wait_until(points.is_reached)
    kill_supervisor(machine)
    points.let_go()
    starting.join()
    await_the_end(machine)


def kill_supervisor(machine: Machine) -> None:
    """It waits at the point and cannot be asked who it is: the youngest process of the keeper."""
    run_root = machine.settings.places.run_root.encode()
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            comm = Path(f"/proc/{name}/comm").read_text()
        except OSError:
            continue
        if run_root in words and b"serve" in words and comm.startswith("rundlet-keeper"):
            found.append(int(name))
    os.kill(sorted(found)[1], signal.SIGKILL)
