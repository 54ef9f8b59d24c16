"""Attributes of one process as steps: for a container's first process and for every exec into it.

This module imports nothing but the standard library: the keeper reads it too.
"""

from typing import NamedTuple


class SetLimit(NamedTuple):
    """`resource` is RLIMIT_* by number; -1 is infinity."""

    name: str
    resource: int
    soft: int
    hard: int

    def describe(self) -> str:
        return f"{self.name} {self.soft}:{self.hard}"


class SetScheduler(NamedTuple):
    """`policy` and `flags` as in <linux/sched.h>; times in nanoseconds."""

    name: str
    policy: int
    flags: int
    nice: int
    priority: int
    runtime_ns: int
    deadline_ns: int
    period_ns: int

    def describe(self) -> str:
        return f"scheduler {self.name}, nice {self.nice}, priority {self.priority}"


class SetIoPriority(NamedTuple):
    """`io_class` as in <linux/ioprio.h>."""

    name: str
    io_class: int
    priority: int

    def describe(self) -> str:
        return f"I/O priority {self.name} {self.priority}"


class SetPersonality(NamedTuple):
    """`domain` as in <sys/personality.h>."""

    name: str
    domain: int

    def describe(self) -> str:
        return f"personality {self.name}"


class SetMemoryPolicy(NamedTuple):
    """`mode` holds MPOL_* with its MPOL_F_* bits."""

    name: str
    mode: int
    nodes: tuple[int, ...]

    def describe(self) -> str:
        return f"memory policy {self.name} of nodes {','.join(map(str, self.nodes)) or 'none'}"


Attribute = SetScheduler | SetIoPriority | SetPersonality | SetMemoryPolicy
