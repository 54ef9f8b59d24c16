"""What a group uses: CPU time, memory, processes, and what it waits for.

Sources: Documentation/admin-guide/cgroup-v1/{memory,cpuacct}.rst, cgroup-v2.rst.
"""

from typing import NamedTuple

from rundlet.cgroup.group import Group
from rundlet.cgroup.pressure import Pressure, parse_pressure
from rundlet.cgroup.reading import GroupFiles
from rundlet.errors import NotFound


class Pressures(NamedTuple):
    cpu: Pressure
    memory: Pressure
    io: Pressure


class GroupStats(NamedTuple):
    """A snapshot of a group and all below it; a figure that the host does not keep is 0.

    The working set is the memory that cannot be had back without cost: usage
    less inactive file pages.  The limits are 0 when there is none.  `pressure` is None
    where the kernel keeps none: version 1, or without CONFIG_PSI.
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
    swap_limit_bytes: int = 0
    pressure: Pressures | None = None


def read_stats(group: Group) -> GroupStats:
    """The group's figures now; raises NotFound when the group does not exist."""
    if not group.exists():
        raise NotFound(f"cgroup {group.path} does not exist")
    return _read_v1(group) if group.layout.version == 1 else _read_v2(group)


def read_oom_kills(group: Group) -> int:
    """Processes of the group that the kernel killed for want of memory; 0 when it is gone."""
    if group.layout.version == 1:
        return GroupFiles(group).pairs("memory", "memory.oom_control").get("oom_kill", 0)
    return GroupFiles(group).pairs("memory", "memory.events").get("oom_kill", 0)


def _read_v1(group: Group) -> GroupStats:
    files = GroupFiles(group)
    usage = files.number("memory", "memory.usage_in_bytes")
    memory = files.pairs("memory", "memory.stat")
    limit = files.number("memory", "memory.limit_in_bytes")
    return GroupStats(
        cpu_usage_ns=files.number("cpuacct", "cpuacct.usage"),
        memory_usage_bytes=usage,
        working_set_bytes=max(0, usage - memory.get("total_inactive_file", 0)),
        rss_bytes=memory.get("total_rss", 0),
        limit_bytes=limit,
        page_faults=memory.get("total_pgfault", 0),
        major_page_faults=memory.get("total_pgmajfault", 0),
        swap_bytes=memory.get("total_swap", 0),
        pids=files.number("pids", "pids.current"),
        oom_kills=read_oom_kills(group),
        swap_limit_bytes=max(0, files.number("memory", "memory.memsw.limit_in_bytes") - limit),
    )


def _read_v2(group: Group) -> GroupStats:
    files = GroupFiles(group)
    usage = files.number("memory", "memory.current")
    memory = files.pairs("memory", "memory.stat")
    return GroupStats(
        cpu_usage_ns=files.pairs("cpu", "cpu.stat").get("usage_usec", 0) * 1000,
        memory_usage_bytes=usage,
        working_set_bytes=max(0, usage - memory.get("inactive_file", 0)),
        rss_bytes=memory.get("anon", 0),
        limit_bytes=files.number("memory", "memory.max"),
        page_faults=memory.get("pgfault", 0),
        major_page_faults=memory.get("pgmajfault", 0),
        swap_bytes=files.number("memory", "memory.swap.current"),
        pids=files.number("pids", "pids.current"),
        oom_kills=read_oom_kills(group),
        swap_limit_bytes=files.number("memory", "memory.swap.max"),
        pressure=_read_pressures(files),
    )


def _read_pressures(files: GroupFiles) -> Pressures | None:
    cpu = files.text("cpu", "cpu.pressure")
    if not cpu:
        return None
    memory, io = (files.text(name, f"{name}.pressure") for name in ("memory", "io"))
    return Pressures(parse_pressure(cpu), parse_pressure(memory), parse_pressure(io))
