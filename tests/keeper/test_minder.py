"""The extra process that the keeper keeps alive: started, started again, forgotten."""

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rundlet.keeper.client import Keeper
from rundlet.keeper.connection import Connection, connect
from rundlet.keeper.place import keeper_dir
from tests.keeper.deaths import kill_and_wait, kill_keeper

pytestmark = pytest.mark.kernel


class Lives:
    """A minder that notes each of its lives in a file, then does `script`."""

    def __init__(self, keeper: Keeper, path: Path) -> None:
        self._keeper = keeper
        self._path = path

    def mind(self, script: str, *, look: bool = True) -> int:
        argv = ["/bin/sh", "-c", f"echo $$ >> $LIVES; {script}"]
        return self._keeper.mind(argv, {"LIVES": str(self._path), "PATH": os.environ["PATH"]}, look=look)

    def pids(self) -> list[int]:
        return [int(line) for line in self._path.read_text().split()] if self._path.exists() else []

    def await_count(self, count: int) -> list[int]:
        wait_until(lambda: len(self.pids()) >= count)
        return self.pids()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        select.select([], [], [], 0.005)


@pytest.fixture
def lives(keeper: Keeper, tmp_path: Path) -> Iterator[Lives]:
    lives = Lives(keeper, tmp_path / "lives")
    yield lives
    if note(keeper).exists():
        lives.mind("exit 0")
        for pid in lives.pids():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        wait_until(lambda: not note(keeper).exists())


def note(keeper: Keeper) -> Path:
    return Path(keeper_dir(keeper.run_root), "minder")


def watch(keeper: Keeper) -> Connection:
    connection = connect(keeper.run_root)
    connection.send("watch", {"minds": True})
    connection.receive()
    return connection


def test_one_that_dies_is_started_again(lives: Lives) -> None:
    pid = lives.mind("exec sleep 100")
    assert lives.await_count(1) == [pid]
    kill_and_wait(pid)
    assert lives.await_count(2)[1] != pid


def test_one_that_exits_with_0_is_forgotten_and_the_keeper_leaves(keeper: Keeper, lives: Lives) -> None:
    lives.mind("exit 0")
    wait_until(lambda: not note(keeper).exists())
    keeper.close()
    wait_until(lambda: not Path(keeper_dir(keeper.run_root)).exists())
    assert len(lives.pids()) == 1


def test_one_that_fails_is_started_again_after_longer_and_longer_pauses(lives: Lives) -> None:
    begin = time.monotonic()
    lives.mind("exit 1")
    lives.await_count(4)
    assert time.monotonic() - begin > 0.1 + 0.2 + 0.4


@pytest.mark.parametrize("victim", ["supervisor", "anchor", "both"])
def test_it_outlives_a_killed_keeper_and_is_kept_by_the_next(
    keeper: Keeper, lives: Lives, victim: str
) -> None:
    pid = lives.mind("exec sleep 100")
    lives.await_count(1)
    kill_keeper(keeper, victim)
    keeper.list()
    assert lives.pids() == [pid]
    kill_and_wait(pid)
    lives.await_count(2)


def test_a_wish_that_it_has_not_heard_brings_it_back(keeper: Keeper, lives: Lives, tmp_path: Path) -> None:
    """It was about to leave, with nothing to do, when there was something to do."""
    go = tmp_path / "go"
    os.mkfifo(go)
    lives.mind(f"read x < {go}; exit 0")
    lives.await_count(1)
    lives.mind("exit 0")
    go.write_text("\n")
    assert len(lives.await_count(2)) == 2
    wait_until(lambda: not note(keeper).exists())


def test_whoever_watches_for_it_is_told_whether_to_look(keeper: Keeper, lives: Lives) -> None:
    lives.mind("exec sleep 100", look=False)
    lives.mind("exec sleep 100", look=False)
    connection = watch(keeper)
    assert connection.receive(5).message == {"mind": False}
    lives.mind("exec sleep 100", look=True)
    assert connection.receive(5).message == {"mind": True}
    connection.close()
    keeper.list()
    lives.mind("exec sleep 100", look=True)
    second = watch(keeper)
    assert second.receive(5).message == {"mind": True}
    second.close()
