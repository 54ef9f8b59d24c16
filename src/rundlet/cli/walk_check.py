"""Proof that a walk leaves nothing: what the machine holds before and after, compared.

Everything is read from /proc, /sys and the CNI data directory, never from the
engine's own records: the engine is what is being checked.
"""

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from rundlet.engine.journal import FILE_NAMES

_POLL_S = 0.02


class Scope(NamedTuple):
    """What counts.  In a node of our own everything does (empty ``marks``); on a host that
    others use, only processes, mounts and cgroups that carry one of the marks.
    ``kept_interfaces`` may stay."""

    run_root: str
    cni_dir: str = "/var/lib/cni"
    marks: tuple[str, ...] = ()
    kept_interfaces: tuple[str, ...] = ()

    def covers(self, text: str) -> bool:
        return not self.marks or any(mark in text for mark in self.marks)


class Traces(NamedTuple):
    """One look at the machine, a set of names per kind."""

    processes: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    cgroups: frozenset[str]
    interfaces: frozenset[str]
    leases: frozenset[str]
    files: frozenset[str]


class Leftover(NamedTuple):
    kind: str
    name: str


def take_traces(scope: Scope) -> Traces:
    mounts = list(list_mounts())
    return Traces(
        processes=frozenset(text for text in list_processes() if scope.covers(text)),
        mounts=frozenset(path for path, kind in mounts if kind != "nsfs" and scope.covers(path)),
        namespaces=frozenset(path for path, kind in mounts if kind == "nsfs"),
        cgroups=frozenset(path for path in list_cgroups() if scope.covers(path)),
        interfaces=frozenset(os.listdir("/sys/class/net")) - set(scope.kept_interfaces),
        leases=frozenset(list_leases(scope.cni_dir)),
        # The journal of events tells of what is gone, and stays.
        files=frozenset(list_files(scope.run_root)) - {f"{scope.run_root}/{name}" for name in FILE_NAMES},
    )


def compare_traces(before: Traces, after: Traces) -> tuple[Leftover, ...]:
    """What is there after and was not before."""
    return tuple(
        Leftover(kind, name)
        for kind, old, new in zip(Traces._fields, before, after, strict=True)
        for name in sorted(new - old)
    )


def await_nothing_left(before: Traces, scope: Scope, timeout_s: float) -> tuple[Leftover, ...]:
    """What is left once nothing is, or once the time is over.

    Parts of taking down are off the caller's path on purpose (a veth takes the
    kernel 10 to 27 ms, an idle keeper leaves by itself), so this looks again.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        left = compare_traces(before, take_traces(scope))
        if not left or time.monotonic() > deadline_s:
            return left
        time.sleep(_POLL_S)


def list_processes() -> Iterator[str]:
    """ "PID command line [cgroups]" of every process but this one."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            text = describe_process(name)
            if text:
                yield text


def describe_process(pid: str) -> str:
    """Empty when the process is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            state = file.read().rpartition(") ")[2][0]
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            groups = {line.rstrip("\n").split(":", 2)[2] for line in file}
    except OSError:
        return ""
    return f"{pid} {words or 'zombie' * (state == 'Z') or 'kernel thread'} [{' '.join(sorted(groups))}]"


def list_mounts() -> Iterator[tuple[str, str]]:
    """(mount point, file system type), proc(5): /proc/self/mountinfo."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            yield left.split()[4], right.split()[0]


def list_cgroups() -> Iterator[str]:
    """Every cgroup directory of every hierarchy, controllers' mount points included."""
    tops = [path for path, kind in list_mounts() if kind in {"cgroup", "cgroup2"}]
    for top in tops:
        for directory, _, _ in os.walk(top):
            yield directory


def list_leases(cni_dir: str) -> Iterator[str]:
    """host-local's addresses in use and libcni's kept results."""
    for folder in ("networks", "results"):
        for path in list_files(f"{cni_dir}/{folder}"):
            if os.path.basename(path) != "lock" and "last_reserved_ip" not in path:
                yield path


def list_files(directory: str) -> Iterator[str]:
    """Files, sockets and links below a directory; directories alone hold nothing."""
    for folder, _, names in os.walk(directory):
        yield from (f"{folder}/{name}" for name in names)
