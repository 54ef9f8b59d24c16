"""What a group uses: CPU time, memory, processes.

Sources: Documentation/admin-guide/cgroup-v1/{memory,cpuacct}.rst, cgroup-v2.rst.
"""

import os
from typing import NamedTuple

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.errors import NotFound

# Version 1 says "no limit" as the largest multiple of the page size.
_UNLIMITED_BYTES = 1 << 62


class GroupStats(NamedTuple):
    """A snapshot of a group and all below it; a figure that the host does not keep is 0.

    The working set is the memory that cannot be had back without cost: usage
    less inactive file pages.  `limit_bytes` is 0 when there is no limit.
    """

    cpu_usage_ns: int = 0
    memory_usage_bytes: int = 0
    working_set_bytes: int = 0
    rss_bytes: int = 0
    limit_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0
    swap_bytes: int = 0
    pids: int = 0
    oom_kills: int = 0


def read_stats(group: Group) -> GroupStats:
    """The group's figures now; raises NotFound when the group does not exist."""
    if not group.exists():
        raise NotFound(f"cgroup {group.path} does not exist")
    return _read_v1(group) if group.layout.version == 1 else _read_v2(group)


def read_oom_kills(group: Group) -> int:
    """Processes of the group that the kernel killed for want of memory; 0 when it is gone."""
    if group.layout.version == 1:
        return _pairs(group, "memory", "memory.oom_control").get("oom_kill", 0)
    return _pairs(group, "memory", "memory.events").get("oom_kill", 0)


def _read_v1(group: Group) -> GroupStats:
    usage = _number(group, "memory", "memory.usage_in_bytes")
    memory = _pairs(group, "memory", "memory.stat")
    return GroupStats(
        cpu_usage_ns=_number(group, "cpuacct", "cpuacct.usage"),
        memory_usage_bytes=usage,
        working_set_bytes=max(0, usage - memory.get("total_inactive_file", 0)),
        rss_bytes=memory.get("total_rss", 0),
        limit_bytes=_limit(_number(group, "memory", "memory.limit_in_bytes")),
        page_faults=memory.get("total_pgfault", 0),
        major_page_faults=memory.get("total_pgmajfault", 0),
        swap_bytes=memory.get("total_swap", 0),
        pids=_number(group, "pids", "pids.current"),
        oom_kills=read_oom_kills(group),
    )


def _read_v2(group: Group) -> GroupStats:
    usage = _number(group, "memory", "memory.current")
    memory = _pairs(group, "memory", "memory.stat")
    return GroupStats(
        cpu_usage_ns=_pairs(group, "cpu", "cpu.stat").get("usage_usec", 0) * 1000,
        memory_usage_bytes=usage,
        working_set_bytes=max(0, usage - memory.get("inactive_file", 0)),
        rss_bytes=memory.get("anon", 0),
        limit_bytes=_limit(_number(group, "memory", "memory.max")),
        page_faults=memory.get("pgfault", 0),
        major_page_faults=memory.get("pgmajfault", 0),
        swap_bytes=_number(group, "memory", "memory.swap.current"),
        pids=_number(group, "pids", "pids.current"),
        oom_kills=read_oom_kills(group),
    )


def _limit(value: int) -> int:
    return value if value < _UNLIMITED_BYTES else 0


def _text(group: Group, controller: str, file: str) -> str:
    try:
        return read_text(os.path.join(group.directory(controller), file))
    except (OSError, NotFound):
        return ""


def _number(group: Group, controller: str, file: str) -> int:
    """The one number in a file; 0 for "max" and for a file that is not there."""
    text = _text(group, controller, file).strip()
    return int(text) if text.isdigit() else 0


def _pairs(group: Group, controller: str, file: str) -> dict[str, int]:
    """A file of "name number" lines."""
    lines = (line.split() for line in _text(group, controller, file).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
