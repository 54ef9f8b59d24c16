"""The metric families that cAdvisor made customary, from the figures of one container or pod.

A family is one row of FAMILIES: name, kind, help, the label keys beyond BASE_LABELS, and
a function from figures to samples.  CRI carries whole numbers only, so seconds are whole
seconds, as CRI-O has them.
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from rundlet.cgroup.figures import DeviceIo, Figures
from rundlet.engine.status import FilesystemUsage, InterfaceStats

BASE_LABELS = ("id", "name", "image")
_NS_PER_S = 1_000_000_000
_US_PER_S = 1_000_000


class Subject(NamedTuple):
    """Whose metrics: `cgroup`, `name` and `image` become the base labels; a pod has no image."""

    cgroup: str
    name: str
    image: str


class Processes(NamedTuple):
    """Sums over the processes of a group (proc(5))."""

    file_descriptors: int
    sockets: int
    soft_nofile: int


class Inputs(NamedTuple):
    """Everything the families draw from; what a subject does not have is empty."""

    figures: Figures
    processes: Processes
    interfaces: tuple[InterfaceStats, ...] = ()
    filesystem: FilesystemUsage | None = None
    started_at_ns: int = 0


class Sample(NamedTuple):
    """`labels` has a value for each key of the family's `labels`."""

    labels: tuple[str, ...]
    value: int


Kind = Literal["counter", "gauge"]


class Family(NamedTuple):
    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    read: Callable[[Inputs], Iterable[Sample]]


class Metric(NamedTuple):
    """One value with all its labels, base labels first."""

    name: str
    kind: Kind
    timestamp_ns: int
    label_values: tuple[str, ...]
    value: int


def _one(read: Callable[[Inputs], int]) -> Callable[[Inputs], list[Sample]]:
    """A family with a single value and no labels of its own."""
    return lambda inputs: [Sample((), read(inputs))]


def _interfaces(read: Callable[[InterfaceStats], int]) -> Callable[[Inputs], list[Sample]]:
    return lambda inputs: [Sample((item.name,), read(item)) for item in inputs.interfaces]


def _devices(read: Callable[[DeviceIo], int]) -> Callable[[Inputs], list[Sample]]:
    return lambda inputs: [Sample((item.device,), read(item)) for item in inputs.figures.io]


def _filesystem(read: Callable[[FilesystemUsage], int]) -> Callable[[Inputs], list[Sample]]:
    def samples(inputs: Inputs) -> list[Sample]:
        usage = inputs.filesystem
        return [Sample((usage.mountpoint,), read(usage))] if usage is not None else []

    return samples


def _space(read: Callable[[os.statvfs_result], int]) -> Callable[[FilesystemUsage], int]:
    """A figure of the file system that a writable layer lies on; 0 when it cannot be asked."""

    def figure(usage: FilesystemUsage) -> int:
        try:
            return read(os.statvfs(usage.mountpoint))
        except OSError:
            return 0

    return figure


def _faults(inputs: Inputs) -> list[Sample]:
    memory = inputs.figures.memory
    return [
        Sample(("pgfault", "hierarchy"), memory.page_faults),
        Sample(("pgmajfault", "hierarchy"), memory.major_page_faults),
    ]


def _device_usage(inputs: Inputs) -> list[Sample]:
    rows = ((item, (("Read", item.read_bytes), ("Write", item.written_bytes))) for item in inputs.figures.io)
    return [Sample((item.device, operation), value) for item, pairs in rows for operation, value in pairs]


def _huge(index: int) -> Callable[[Inputs], list[Sample]]:
    return lambda inputs: [Sample((size,), pair[index]) for size, pair in inputs.figures.hugetlb.items()]


def _pressure(resource: str, index: int) -> Callable[[Inputs], list[Sample]]:
    return _one(lambda inputs: inputs.figures.pressure[resource][index].total_us // _US_PER_S)


def _simple(name: str, kind: Kind, text: str, read: Callable[[Inputs], int]) -> Family:
    return Family(f"container_{name}", kind, text, (), _one(read))


def _cpu_families() -> list[Family]:
    labels = ("cpu",)
    total = lambda inputs: [Sample(("total",), inputs.figures.cpu.usage_ns // _NS_PER_S)]  # noqa: E731
    return [
        Family("container_cpu_usage_seconds_total", "counter", "CPU time used, in seconds", labels, total),
        _simple("cpu_user_seconds_total", "counter", "CPU time in user mode, in seconds",
                lambda i: i.figures.cpu.user_ns // _NS_PER_S),
        _simple("cpu_system_seconds_total", "counter", "CPU time in the kernel, in seconds",
                lambda i: i.figures.cpu.system_ns // _NS_PER_S),
        _simple("cpu_cfs_periods_total", "counter", "Scheduler periods with something to run",
                lambda i: i.figures.cpu.periods),
        _simple("cpu_cfs_throttled_periods_total", "counter", "Scheduler periods that hit the quota",
                lambda i: i.figures.cpu.throttled_periods),
        _simple("cpu_cfs_throttled_seconds_total", "counter", "Time held back by the quota, in seconds",
                lambda i: i.figures.cpu.throttled_ns // _NS_PER_S),
        _simple("spec_cpu_period", "gauge", "CPU period, in microseconds", lambda i: i.figures.cpu.period_us),
        _simple("spec_cpu_quota", "gauge", "CPU quota, in microseconds; 0 for none",
                lambda i: i.figures.cpu.quota_us),
        _simple("spec_cpu_shares", "gauge", "CPU shares", lambda i: i.figures.cpu.shares),
    ]  # fmt: skip


def _memory_families() -> list[Family]:
    gauges = (
        ("memory_usage_bytes", "Memory in use, with caches", lambda m: m.usage),
        ("memory_working_set_bytes", "Memory that cannot be had back without cost", lambda m: m.working_set),
        ("memory_rss", "Anonymous memory", lambda m: m.rss),
        ("memory_cache", "Page cache", lambda m: m.cache),
        ("memory_swap", "Swap in use", lambda m: m.swap),
        ("memory_mapped_file", "Mapped files", lambda m: m.mapped_file),
        ("memory_kernel_usage", "Kernel memory", lambda m: m.kernel),
        ("memory_max_usage_bytes", "Highest memory in use so far", lambda m: m.max_usage),
        ("spec_memory_limit_bytes", "Memory limit; 0 for none", lambda m: m.limit),
        ("spec_memory_reservation_limit_bytes", "Memory reservation; 0 for none", lambda m: m.reservation),
        ("spec_memory_swap_limit_bytes", "Swap limit; 0 for none", lambda m: m.swap_limit),
    )
    families = [_simple(name, "gauge", text, lambda i, read=read: read(i.figures.memory))  # type: ignore[misc]
                for name, text, read in gauges]  # fmt: skip
    families.append(_simple("memory_failcnt", "counter", "How often the memory limit was hit",
                            lambda i: i.figures.memory.fail_count))  # fmt: skip
    families.append(
        Family(
            "container_memory_failures_total", "counter", "Page faults", ("failure_type", "scope"), _faults
        )
    )
    return families


def _network_families() -> list[Family]:
    figures = (
        ("receive_bytes", "Bytes received", lambda n: n.rx_bytes),
        ("receive_packets", "Packets received", lambda n: n.rx_packets),
        ("receive_packets_dropped", "Packets dropped while receiving", lambda n: n.rx_dropped),
        ("receive_errors", "Errors while receiving", lambda n: n.rx_errors),
        ("transmit_bytes", "Bytes sent", lambda n: n.tx_bytes),
        ("transmit_packets", "Packets sent", lambda n: n.tx_packets),
        ("transmit_packets_dropped", "Packets dropped while sending", lambda n: n.tx_dropped),
        ("transmit_errors", "Errors while sending", lambda n: n.tx_errors),
    )
    return [
        Family(f"container_network_{name}_total", "counter", text, ("interface",), _interfaces(read))
        for name, text, read in figures
    ]


def _disk_families() -> list[Family]:
    io = (
        ("reads_bytes_total", "Bytes read", lambda d: d.read_bytes),
        ("reads_total", "Reads", lambda d: d.reads),
        ("writes_bytes_total", "Bytes written", lambda d: d.written_bytes),
        ("writes_total", "Writes", lambda d: d.writes),
    )
    space = (
        ("usage_bytes", "Bytes of the writable layer", lambda u: u.used_bytes),
        ("limit_bytes", "Size of the file system below", _space(lambda s: s.f_blocks * s.f_frsize)),
        ("inodes_free", "Free inodes of the file system below", _space(lambda s: s.f_ffree)),
        ("inodes_total", "Inodes of the file system below", _space(lambda s: s.f_files)),
    )
    families = [
        Family(f"container_fs_{name}", "counter", text, ("device",), _devices(read))
        for name, text, read in io
    ]
    families += [
        Family(f"container_fs_{name}", "gauge", text, ("device",), _filesystem(read))
        for name, text, read in space
    ]
    help_text = "Bytes to and from a block device"
    families.append(
        Family(
            "container_blkio_device_usage_total", "counter", help_text, ("device", "operation"), _device_usage
        )
    )
    return families


def _process_families() -> list[Family]:
    return [
        _simple("processes", "gauge", "Processes", lambda i: len(i.figures.pids)),
        _simple("threads", "gauge", "Threads", lambda i: i.figures.threads),
        _simple("threads_max", "gauge", "Most threads allowed; 0 for no limit", lambda i: i.figures.threads_max),
        _simple("file_descriptors", "gauge", "Open files", lambda i: i.processes.file_descriptors),
        _simple("sockets", "gauge", "Open sockets", lambda i: i.processes.sockets),
        Family("container_ulimits_soft", "gauge", "Soft limit of the first process", ("ulimit",),
               lambda i: [Sample(("max_open_files",), i.processes.soft_nofile)]),
        _simple("oom_events_total", "counter", "Processes killed for want of memory", lambda i: i.figures.oom_kills),
        _simple("last_seen", "gauge", "When these figures were read, in seconds since the epoch",
                lambda _: int(time.time())),
        _simple("start_time_seconds", "gauge", "When it was started, in seconds since the epoch",
                lambda i: i.started_at_ns // _NS_PER_S),
        Family("container_hugetlb_usage_bytes", "gauge", "Huge pages in use", ("pagesize",), _huge(0)),
        Family("container_hugetlb_max_usage_bytes", "gauge", "Most huge pages used so far", ("pagesize",), _huge(1)),
    ]  # fmt: skip


def _pressure_families() -> list[Family]:
    words = (("waiting", 0, "some task waited"), ("stalled", 1, "all tasks waited"))
    return [
        Family(f"container_pressure_{resource}_{word}_seconds_total", "counter",
               f"Time that {text} for {resource}, in seconds", (), _pressure(resource, index))
        for resource in ("cpu", "memory", "io")
        for word, index, text in words
    ]  # fmt: skip


FAMILIES: tuple[Family, ...] = (
    *_cpu_families(),
    *_memory_families(),
    *_network_families(),
    *_disk_families(),
    *_process_families(),
    *_pressure_families(),
)


def measure(subject: Subject, inputs: Inputs) -> list[Metric]:
    """Every family's values for one container or pod."""
    now_ns = time.time_ns()
    base = (subject.cgroup, subject.name, subject.image)
    return [
        Metric(family.name, family.kind, now_ns, (*base, *sample.labels), max(0, sample.value))
        for family in FAMILIES
        for sample in family.read(inputs)
    ]


def count_processes(pids: Iterable[int]) -> Processes:
    """Open files and sockets of the processes; those that end meanwhile count as nothing."""
    descriptors, sockets, limit = 0, 0, 0
    for pid in pids:
        names = _read_descriptors(pid)
        descriptors += len(names)
        sockets += sum(name.startswith("socket:") for name in names)
        limit = limit or _read_soft_nofile(pid)
    return Processes(descriptors, sockets, limit)


def _read_descriptors(pid: int) -> list[str]:
    directory = f"/proc/{pid}/fd"
    try:
        return [os.readlink(f"{directory}/{name}") for name in os.listdir(directory)]
    except OSError:
        return []  # the process, or a descriptor, has gone


def _read_soft_nofile(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("Max open files"))
    except (OSError, StopIteration):
        return 0
    word = line.split()[3]
    return int(word) if word.isdigit() else 0
