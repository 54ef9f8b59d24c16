"""What processes take: memory shared fairly (PSS), CPU time; and whose they are."""

import os
from collections.abc import Iterable

from benchmarks.figure import OURS
from benchmarks.node import CONTAINERD, PAUSE

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def read_text(pid: int, file: str) -> str:
    """ "" of a process that has ended."""
    try:
        with open(f"/proc/{pid}/{file}", encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""


def list_overhead() -> dict[str, list[int]]:
    """Party -> processes of its own in this node: all but the workloads.

    containerd's are the daemon, its shims and the pods' pause processes; rundlet's the daemon and
    the keeper's, whichever they are.  The node's first process and the benchmark are nobody's.
    """
    owned: dict[str, list[int]] = {OURS: [], CONTAINERD: []}
    others = {1, os.getpid(), os.getppid()}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        arguments = read_text(pid, "cmdline").split("\0")[:-1]
        if pid in others or not arguments:
            continue
        if "containerd" in os.path.basename(arguments[0]) or tuple(arguments) == PAUSE:
            owned[CONTAINERD].append(pid)
        elif any("rundlet" in argument for argument in arguments):
            owned[OURS].append(pid)
    return owned


def read_pss_mib(pids: Iterable[int]) -> float:
    """PSS: what is shared counts in part for each that shares it (proc(5), smaps_rollup)."""
    return sum(map(read_pss_kib, pids)) / 1024


def read_pss_kib(pid: int) -> int:
    lines = read_text(pid, "smaps_rollup").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def read_cpu_s(pids: Iterable[int]) -> float:
    """User and system time (proc(5): fields 14 and 15 of stat)."""
    stats = (read_text(pid, "stat").rpartition(")")[2].split() for pid in pids)
    return sum((int(fields[11]) + int(fields[12])) * _TICK_S for fields in stats if fields)
