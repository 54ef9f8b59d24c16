"""What a process is doing just now, who holds a lock, who keeps a mount: as the kernel tells it (proc(5))."""

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "in uninterruptible sleep",
    "Z": "a zombie, which waits for its parent",
    "T": "stopped by a signal",
    "t": "stopped by a debugger",
    "I": "idle",
    "X": "dead",
}
_COMMAND_MAX = 80
_STACK_LINES = 8


class ProcessFacts(NamedTuple):
    """`state` is the letter of proc(5); `waits_in` a function of the kernel, "" when it runs; `stack` needs root."""

    pid: int
    parent: int
    state: str
    command: str
    waits_in: str
    stack: tuple[str, ...]


def read_process(pid: int) -> ProcessFacts | None:
    """None when there is no such process."""
    stat = _read(f"/proc/{pid}/stat")
    if not stat:
        return None
    name = stat.partition("(")[2].rpartition(")")[0]
    state, parent = stat.rpartition(")")[2].split()[:2]
    line = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or f"[{name}]"
    waits_in = _read(f"/proc/{pid}/wchan").strip()
    stack = tuple(re.sub(r"^\[<\w+>\] ", "", line) for line in _read(f"/proc/{pid}/stack").splitlines())
    return ProcessFacts(
        pid,
        int(parent),
        state,
        line[:_COMMAND_MAX],
        waits_in if waits_in != "0" else "",
        stack[:_STACK_LINES],
    )


def describe_process(facts: ProcessFacts) -> list[str]:
    """One line; below it, for a process that no signal reaches, what the kernel is at."""
    where = f" in {facts.waits_in}" if facts.waits_in and facts.state in "SD" else ""
    lines = [f"process {facts.pid} ({facts.command}) is {STATES.get(facts.state, facts.state)}{where}"]
    if facts.state == "D":
        lines += [f"  {frame}" for frame in facts.stack]
    return lines


def list_children(pid: int) -> list[int]:
    """The children of a process, whichever of its threads made them."""
    return [
        child for child in list_pids() if (facts := _read(f"/proc/{child}/stat")) and _parent(facts) == pid
    ]


def list_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def find_lock_holders(path: str) -> list[int]:
    """Pids that hold flock(2) or fcntl(2) locks on the file; of other pid namespaces none are told."""
    try:
        inode = os.stat(path).st_ino
    except OSError:
        return []
    # 1: FLOCK  ADVISORY  WRITE 708 00:13:22661 0 EOF, and "-> " before the kind of one that waits
    found = (line.split() for line in _read("/proc/locks").splitlines() if "->" not in line)
    return [int(words[4]) for words in found if words[5].endswith(f":{inode}") and words[4].isdecimal()]


def find_mount_users(needle: str) -> Iterator[str]:
    """Who keeps a mount whose path has `needle` in it busy, a line each: other mount namespaces, open directories."""
    own = _namespace("self")
    seen = {own}
    for pid in list_pids():
        space = _namespace(str(pid))
        if space and space not in seen and needle in _read(f"/proc/{pid}/mountinfo"):
            yield f"process {pid} ({_name(pid)}) has it in its mount namespace"
        seen.add(space)
        place = _find_open(pid, needle)
        if place:
            yield f"process {pid} ({_name(pid)}) has {place} open"


def _find_open(pid: int, needle: str) -> str:
    """The first working directory, root or descriptor of the process below a path with `needle`."""
    links = [f"/proc/{pid}/cwd", f"/proc/{pid}/root"]
    try:
        links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        pass
    targets = (_read_link(link) for link in links)
    return next((target for target in targets if needle in target), "")


def _namespace(pid: str) -> str:
    return _read_link(f"/proc/{pid}/ns/mnt")


def _name(pid: int) -> str:
    return _read(f"/proc/{pid}/comm").strip()


def _parent(stat: str) -> int:
    return int(stat.rpartition(")")[2].split()[1])


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
