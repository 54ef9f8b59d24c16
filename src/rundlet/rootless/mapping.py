"""Which ids the user's namespace has: a decision, pure.

with ranges in /etc/subuid and /etc/subgid, and newuidmap(1) and newgidmap(1) to write them
    0           → the user's own id
    1 … N       → the ranges, one after the other
else
    0           → the user's own id, and nothing more: setgroups(2) is denied for ever
"""

from collections.abc import Sequence
from typing import NamedTuple

from rundlet.plan.steps import IdMap
from rundlet.rootless.subid import Range


class Mapping(NamedTuple):
    """`is_single`: written by the process itself; else by newuidmap and newgidmap."""

    uid_map: IdMap
    gid_map: IdMap
    is_single: bool

    def describe(self) -> str:
        if self.is_single:
            return f"user namespace with root as {self.uid_map[0][1]} and no other id"
        return (
            f"user namespace with root as {self.uid_map[0][1]} and {count_ids(self.uid_map)} ids by newuidmap"
        )


def plan_mapping(
    uid: int, gid: int, subuids: Sequence[Range], subgids: Sequence[Range], *, has_helpers: bool
) -> Mapping:
    """`has_helpers`: newuidmap and newgidmap are installed and would get their rights."""
    if has_helpers and subuids and subgids:
        return Mapping(_stack(uid, subuids), _stack(gid, subgids), is_single=False)
    return Mapping(((0, uid, 1),), ((0, gid, 1),), is_single=True)


def _stack(own: int, ranges: Sequence[Range]) -> IdMap:
    """A range that holds the own id gives it away, as no id can be mapped twice."""
    rows = [(0, own, 1)]
    inside = 1
    for first, length in (part for item in ranges for part in _without(item, own)):
        rows.append((inside, first, length))
        inside += length
    return tuple(rows)


def _without(item: Range, own: int) -> tuple[Range, ...]:
    if not item.first <= own < item.first + item.length:
        return (item,)
    parts = (Range(item.first, own - item.first), Range(own + 1, item.first + item.length - own - 1))
    return tuple(part for part in parts if part.length)


def count_ids(mapping: IdMap) -> int:
    return sum(count for _, _, count in mapping)
