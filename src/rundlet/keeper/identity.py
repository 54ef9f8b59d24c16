"""Which process it is, and how it ended, when it is somebody else's child."""

import os
from typing import NamedTuple

from rundlet.cgroup.files import read_text
from rundlet.kernel import pidfd as pidfds


class ProcessStat(NamedTuple):
    """From proc(5), /proc/PID/stat."""

    state: str
    start_time: int  # clock ticks since boot: with it a pid names one process for ever
    wait_status: int  # of a zombie


def read_stat(pid: int) -> ProcessStat | None:
    """None when there is no such process."""
    try:
        fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return ProcessStat(fields[0], int(fields[19]), int(fields[49]))


def read_start_time(pid: int) -> int:
    """0 when there is no such process."""
    stat = read_stat(pid)
    return stat.start_time if stat else 0


def open_process(pid: int, start_time: int) -> int:
    """A pidfd of the process that had `pid` and began at `start_time`; -1 when it was reaped."""
    if not pid:
        return -1
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    if read_start_time(pid) == start_time:
        return fd
    os.close(fd)
    return -1


def find_wait_status(pid: int, fd: int) -> int | None:
    """How the process open as `fd` ended, whoever its parent is; None when nobody can say.

    While it is a zombie its stat says it, afterwards its pidfd does (Linux 6.15).
    """
    stat = read_stat(pid)
    if stat is not None and stat.state == "Z" and pidfds.read_exit_status(fd) is None:
        return stat.wait_status
    return pidfds.read_exit_status(fd)


def peek_wait_status(pid: int) -> int:
    """How a child of this process ended; it stays a zombie."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if found is None or found.si_code != os.CLD_EXITED:
        return found.si_status if found else 0
    return found.si_status << 8


def split_status(wait_status: int) -> tuple[int, int]:
    """(exit code, signal): the code is 128 + signal when it was killed."""
    code = os.waitstatus_to_exitcode(wait_status)
    return (128 - code, -code) if code < 0 else (code, 0)
