"""What pods and containers use, from their cgroups and network devices."""

import time
from threading import Lock
from typing import NamedTuple

from rundlet.cgroup.stats import GroupStats, read_stats
from rundlet.engine.options import ContainerFilter
from rundlet.engine.parts import Parts
from rundlet.engine.records import ContainerRecord, PodRecord
from rundlet.engine.status import (
    ContainerStats,
    ContainerStatus,
    CpuStats,
    FilesystemUsage,
    InterfaceStats,
    IoStats,
    MemoryStats,
    PodStats,
    PodStatus,
)

_NS_PER_S = 1_000_000_000
# Two looks closer together than this would give a rate of noise.
_SAMPLE_NS = 100_000_000


class _Sample(NamedTuple):
    timestamp_ns: int
    usage_ns: int
    nanocores: int


class StatsReader:
    """Reads figures; keeps the last CPU sample of each object to tell the rate."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._guard = Lock()
        self._samples: dict[str, _Sample] = {}

    def forget(self, object_id: str) -> None:
        with self._guard:
            self._samples.pop(object_id, None)

    def read_container(self, record: ContainerRecord, status: ContainerStatus) -> ContainerStats:
        """Raises NotFound when its cgroup is gone (it has ended)."""
        now_ns = time.time_ns()
        usage = read_stats(self._parts.group(record.facts.cgroups_path))
        return ContainerStats(
            container=status,
            cpu=self._cpu(record.id, now_ns, usage),
            memory=_memory(now_ns, usage),
            pids=usage.pids,
            writable_layer=self.read_writable_layer(record.id, now_ns),
            io=_io(now_ns, usage),
        )

    def read_pod(
        self, record: PodRecord, status: PodStatus, containers: tuple[ContainerStats, ...]
    ) -> PodStats:
        """Raises NotFound when the pod's cgroup is gone."""
        now_ns = time.time_ns()
        usage = read_stats(self._parts.group(record.facts.cgroup_parent))
        return PodStats(
            pod=status,
            cpu=self._cpu(record.id, now_ns, usage),
            memory=_memory(now_ns, usage),
            pids=usage.pids,
            interfaces=self.read_interfaces(record),
            containers=containers,
            io=_io(now_ns, usage),
        )

    def _cpu(self, object_id: str, now_ns: int, usage: GroupStats) -> CpuStats:
        with self._guard:
            last = self._samples.get(object_id)
            if last is None:
                sample = _Sample(now_ns, usage.cpu_usage_ns, 0)
                self._samples[object_id] = sample
            elif now_ns - last.timestamp_ns < _SAMPLE_NS:
                sample = last
            else:
                used_ns = max(0, usage.cpu_usage_ns - last.usage_ns)
                rate = used_ns * _NS_PER_S // (now_ns - last.timestamp_ns)
                sample = _Sample(now_ns, usage.cpu_usage_ns, rate)
                self._samples[object_id] = sample
        pressure = usage.pressure.cpu if usage.pressure else None
        return CpuStats(now_ns, usage.cpu_usage_ns, sample.nanocores, pressure)

    def read_writable_layer(self, container_id: str, now_ns: int) -> FilesystemUsage:
        used_bytes, inodes = self._parts.store.snapshots.usage(container_id)
        return FilesystemUsage(now_ns, f"{self._parts.settings.root}/snapshots", used_bytes, inodes)

    def read_interfaces(self, record: PodRecord) -> tuple[InterfaceStats, ...]:
        """Counters as some process of the pod sees them; empty while it has none."""
        if "net" not in record.facts.namespaces:
            return ()
        running = self._parts.containers.list(ContainerFilter(pod_id=record.id, state="running"))
        for pid in (record.facts.init_pid, *(container.facts.pid for container in running)):
            text = _read_net_dev(pid)
            if text:
                return parse_net_dev(text)
        return ()


def _memory(now_ns: int, usage: GroupStats) -> MemoryStats:
    limit = usage.limit_bytes
    return MemoryStats(
        timestamp_ns=now_ns,
        working_set_bytes=usage.working_set_bytes,
        available_bytes=max(0, limit - usage.working_set_bytes) if limit else 0,
        usage_bytes=usage.memory_usage_bytes,
        rss_bytes=usage.rss_bytes,
        page_faults=usage.page_faults,
        major_page_faults=usage.major_page_faults,
        swap_usage_bytes=usage.swap_bytes,
        swap_available_bytes=max(0, usage.swap_limit_bytes - usage.swap_bytes),
        pressure=usage.pressure.memory if usage.pressure else None,
    )


def _io(now_ns: int, usage: GroupStats) -> IoStats | None:
    return IoStats(now_ns, usage.pressure.io) if usage.pressure else None


def _read_net_dev(pid: int) -> str:
    if pid <= 0:
        return ""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def parse_net_dev(text: str) -> tuple[InterfaceStats, ...]:
    """/proc/net/dev (proc(5)) without loopback: receive has 8 columns, transmit 8 more."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() == "lo" or not rest:
            continue
        rx, tx = (rest.split()[start : start + 8] for start in (0, 8))
        (rx_bytes, rx_packets, rx_errors, rx_dropped), (tx_bytes, tx_packets, tx_errors, tx_dropped) = (
            map(int, words[:4]) for words in (rx, tx)
        )
        counted = (rx_bytes, rx_errors, tx_bytes, tx_errors, rx_packets, rx_dropped, tx_packets, tx_dropped)
        found.append(InterfaceStats(name.strip(), *counted))
    return tuple(found)
