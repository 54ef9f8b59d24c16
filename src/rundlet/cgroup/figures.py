"""Everything a group's files can tell, for metrics: more, and slower to read, than `stats`.

Sources: Documentation/admin-guide/cgroup-v1/{cpuacct,memory,blkio-controller,hugetlb}.rst,
cgroup-v2.rst, Documentation/accounting/psi.rst.
"""

from typing import NamedTuple

from rundlet.cgroup.group import Group
from rundlet.cgroup.pressure import Pressure, parse_pressure
from rundlet.cgroup.reading import GroupFiles
from rundlet.cgroup.stats import read_oom_kills
from rundlet.errors import NotFound

_NS_PER_TICK = 10_000_000  # USER_HZ is 100 on every architecture that Linux runs on today


class CpuFigures(NamedTuple):
    """Times in nanoseconds; limits as version 1 has them, 0 for none."""

    usage_ns: int
    user_ns: int
    system_ns: int
    periods: int
    throttled_periods: int
    throttled_ns: int
    period_us: int
    quota_us: int
    shares: int


class MemoryFigures(NamedTuple):
    """Bytes, but for `fail_count` and the two kinds of page faults; limits are 0 for none."""

    cache: int
    rss: int
    swap: int
    mapped_file: int
    kernel: int
    usage: int
    max_usage: int
    working_set: int
    fail_count: int
    page_faults: int
    major_page_faults: int
    limit: int
    reservation: int
    swap_limit: int


class DeviceIo(NamedTuple):
    """What went to and from one block device, `device` as MAJOR:MINOR."""

    device: str
    read_bytes: int
    written_bytes: int
    reads: int
    writes: int


class Figures(NamedTuple):
    cpu: CpuFigures
    memory: MemoryFigures
    io: tuple[DeviceIo, ...]
    pressure: dict[str, Pressure]
    hugetlb: dict[str, tuple[int, int]]
    pids: tuple[int, ...]
    threads: int
    threads_max: int
    oom_kills: int


def read_figures(group: Group) -> Figures:
    """The group's figures now; raises NotFound when it does not exist."""
    if not group.exists():
        raise NotFound(f"cgroup {group.path} does not exist")
    files = GroupFiles(group)
    first = group.layout.version == 1
    return Figures(
        cpu=_read_cpu_v1(files) if first else _read_cpu_v2(files),
        memory=_read_memory_v1(files) if first else _read_memory_v2(files),
        io=_read_io_v1(files) if first else _read_io_v2(files),
        pressure={
            name: parse_pressure(files.text(name, f"{name}.pressure")) for name in ("cpu", "memory", "io")
        },
        hugetlb=_read_hugetlb(files),
        pids=tuple(group.pids(recursive=True)),
        threads=files.number("pids", "pids.current"),
        threads_max=files.number("pids", "pids.max"),
        oom_kills=read_oom_kills(group),
    )


def _read_cpu_v1(files: GroupFiles) -> CpuFigures:
    stat = files.pairs("cpu", "cpu.stat")
    ticks = files.pairs("cpuacct", "cpuacct.stat")
    return CpuFigures(
        usage_ns=files.number("cpuacct", "cpuacct.usage"),
        user_ns=ticks.get("user", 0) * _NS_PER_TICK,
        system_ns=ticks.get("system", 0) * _NS_PER_TICK,
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled_ns=stat.get("throttled_time", 0),
        period_us=files.number("cpu", "cpu.cfs_period_us"),
        quota_us=files.number("cpu", "cpu.cfs_quota_us"),
        shares=files.number("cpu", "cpu.shares"),
    )


def _read_cpu_v2(files: GroupFiles) -> CpuFigures:
    stat = files.pairs("cpu", "cpu.stat")
    quota, _, period = files.text("cpu", "cpu.max").strip().partition(" ")
    return CpuFigures(
        usage_ns=stat.get("usage_usec", 0) * 1000,
        user_ns=stat.get("user_usec", 0) * 1000,
        system_ns=stat.get("system_usec", 0) * 1000,
        periods=stat.get("nr_periods", 0),
        throttled_periods=stat.get("nr_throttled", 0),
        throttled_ns=stat.get("throttled_usec", 0) * 1000,
        period_us=int(period) if period.isdigit() else 0,
        quota_us=int(quota) if quota.isdigit() else 0,
        shares=files.number("cpu", "cpu.weight") * 1024 // 100,
    )


def _read_memory_v1(files: GroupFiles) -> MemoryFigures:
    stat = files.pairs("memory", "memory.stat")
    usage = files.number("memory", "memory.usage_in_bytes")
    return MemoryFigures(
        cache=stat.get("total_cache", 0),
        rss=stat.get("total_rss", 0),
        swap=stat.get("total_swap", 0),
        mapped_file=stat.get("total_mapped_file", 0),
        kernel=files.number("memory", "memory.kmem.usage_in_bytes"),
        usage=usage,
        max_usage=files.number("memory", "memory.max_usage_in_bytes"),
        working_set=max(0, usage - stat.get("total_inactive_file", 0)),
        fail_count=files.number("memory", "memory.failcnt"),
        page_faults=stat.get("total_pgfault", 0),
        major_page_faults=stat.get("total_pgmajfault", 0),
        limit=files.number("memory", "memory.limit_in_bytes"),
        reservation=files.number("memory", "memory.soft_limit_in_bytes"),
        swap_limit=files.number("memory", "memory.memsw.limit_in_bytes"),
    )


def _read_memory_v2(files: GroupFiles) -> MemoryFigures:
    stat = files.pairs("memory", "memory.stat")
    usage = files.number("memory", "memory.current")
    return MemoryFigures(
        cache=stat.get("file", 0),
        rss=stat.get("anon", 0),
        swap=files.number("memory", "memory.swap.current"),
        mapped_file=stat.get("file_mapped", 0),
        kernel=stat.get("kernel", 0),
        usage=usage,
        max_usage=files.number("memory", "memory.peak"),
        working_set=max(0, usage - stat.get("inactive_file", 0)),
        fail_count=files.pairs("memory", "memory.events").get("max", 0),
        page_faults=stat.get("pgfault", 0),
        major_page_faults=stat.get("pgmajfault", 0),
        limit=files.number("memory", "memory.max"),
        reservation=files.number("memory", "memory.low"),
        swap_limit=files.number("memory", "memory.swap.max"),
    )


def _read_io_v1(files: GroupFiles) -> tuple[DeviceIo, ...]:
    sizes = files.text("blkio", "blkio.throttle.io_service_bytes_recursive")
    counts = files.text("blkio", "blkio.throttle.io_serviced_recursive")
    return merge_io(_parse_blkio(sizes), _parse_blkio(counts))


def _parse_blkio(text: str) -> dict[str, dict[str, int]]:
    """Lines "8:0 Read 4096" by device and operation; the sum at the end has no device."""
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[2].isdigit():
            found.setdefault(words[0], {})[words[1]] = int(words[2])
    return found


def merge_io(sizes: dict[str, dict[str, int]], counts: dict[str, dict[str, int]]) -> tuple[DeviceIo, ...]:
    """One row a device of what version 1 tells in two files."""
    rows = []
    for device in sorted(sizes.keys() | counts.keys()):
        size, count = sizes.get(device, {}), counts.get(device, {})
        row = (size.get("Read", 0), size.get("Write", 0), count.get("Read", 0), count.get("Write", 0))
        rows.append(DeviceIo(device, *row))
    return tuple(rows)


def _read_io_v2(files: GroupFiles) -> tuple[DeviceIo, ...]:
    return tuple(row for line in files.text("io", "io.stat").splitlines() if (row := parse_io_line(line)))


def parse_io_line(line: str) -> DeviceIo | None:
    """A line "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …" of io.stat; None for a device without figures."""
    device, *words = line.split()
    values = dict(word.split("=", 1) for word in words if "=" in word)
    if "rbytes" not in values:
        return None
    return DeviceIo(device, *(int(values.get(name, 0)) for name in ("rbytes", "wbytes", "rios", "wios")))


def _read_hugetlb(files: GroupFiles) -> dict[str, tuple[int, int]]:
    """(usage, highest usage) by page size; empty where the controller is not there."""
    found = {}
    for size in ("2MB", "1GB"):
        for usage, highest in (("usage_in_bytes", "max_usage_in_bytes"), ("current", "events")):
            if files.text("hugetlb", f"hugetlb.{size}.{usage}"):
                found[size] = (
                    files.number("hugetlb", f"hugetlb.{size}.{usage}"),
                    files.number("hugetlb", f"hugetlb.{size}.{highest}"),
                )
    return found
