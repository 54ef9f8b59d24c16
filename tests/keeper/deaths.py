"""Killing the keeper's processes, and what a log must look like afterwards."""

import os
import select
import signal
from pathlib import Path

from rundlet.errors import Unavailable
from rundlet.keeper.client import Keeper
from tests.keeper.conftest import read_log

VICTIMS = ("supervisor", "anchor", "both")


def kill_and_wait(*pids: int) -> None:
    """SIGKILL; returns when they have ended."""
    pidfds = [os.pidfd_open(pid) for pid in pids]
    for pidfd in pidfds:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    for pidfd in pidfds:
        assert select.select([pidfd], [], [], 10)[0]
        os.close(pidfd)


def kill_keeper(keeper: Keeper, victim: str) -> None:
    """The supervisor, the anchor, or both, of a keeper that may just be replacing one."""
    while True:
        try:
            found = keeper.call("version", {}).message
        except Unavailable:
            continue
        both = (found["anchor"], found["pid"])
        if found["anchor"] != 1:  # the supervisor has taken the anchor's place, but not forked yet
            break
    try:
        if victim == "both":
            os.kill(found["pid"], signal.SIGSTOP)  # it must not take the anchor's place in between
        kill_and_wait(*{"supervisor": both[1:], "anchor": both[:1], "both": both}[victim])
    except ProcessLookupError:
        pass  # it was just being replaced
    keeper.close()


def counted(log: Path, count: int) -> bool:
    """Whether the log has exactly the lines 0 … count - 1."""
    return read_log(log, "stdout").split() == [str(number) for number in range(count)]


def wait_for_lines(log: Path, count: int) -> None:
    """Until the log has at least that many lines."""
    while not log.exists() or log.read_bytes().count(b"\n") < count:
        select.select([], [], [], 0.002)
