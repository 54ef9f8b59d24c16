"""Resource limits of config.json as writes to cgroup files, for version 1 and 2.

Sources: config-linux.md#control-groups; the kernel's cgroup-v1/*.rst and
cgroup-v2.rst.  A limit of 0 means "not asked for", as runc has it (its models
have no null), a negative one "no limit".  What version 2 cannot express at all
(real-time CPU, kernel TCP memory, OOM killer off, swappiness) is an error, as
in crun: silence would promise a limit that is not there.  `memory.kernel`,
`useHierarchy` and `checkBeforeUpdate` are obsolete in the kernel and ignored.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.plan.knobs import DEVICE_PROGRAM
from rundlet.spec.runtime import (
    BlockIo,
    Cpu,
    HugepageLimit,
    Memory,
    NetworkClass,
    Rdma,
    Resources,
    ThrottleDevice,
)

_DEFAULT_PERIOD_US = 100_000


class CgroupWrite(NamedTuple):
    """`value` goes to `file` in the group's directory for `controller` ("" is cgroup v2's core)."""

    controller: str
    file: str
    value: str


Writes = Iterator[CgroupWrite]


def plan_resources(resources: Resources, version: Literal[1, 2]) -> tuple[CgroupWrite, ...]:
    """The writes, in the order in which a fresh group takes them.

    Block weights come under BFQ's names and under the plain ones;
    `rundlet.plan.knobs.filter_writes` keeps those that the host has.

    Raises InvalidArgument for values that make no sense and FailedPrecondition
    for those that this cgroup version cannot express.
    """
    return tuple(_plan_v1(resources) if version == 1 else _plan_v2(resources))


def _plan_v1(resources: Resources) -> Writes:
    if resources.unified:
        raise FailedPrecondition("linux.resources.unified needs cgroup v2 and this host has v1")
    yield from _devices_v1(resources)
    yield from _cpuset(resources.cpu or Cpu())
    yield from _cpu_v1(resources.cpu or Cpu())
    yield from _memory_v1(resources.memory or Memory())
    yield from _pids(resources)
    yield from _block_io_v1(resources.block_io or BlockIo())
    yield from _hugepages(resources.hugepage_limits or (), "limit_in_bytes")
    yield from _network_v1(resources.network or NetworkClass())
    yield from _rdma(resources.rdma or {})


def _plan_v2(resources: Resources) -> Writes:
    yield from _devices_v2(resources)
    yield from _cpuset(resources.cpu or Cpu())
    yield from _cpu_v2(resources.cpu or Cpu())
    yield from _memory_v2(resources.memory or Memory())
    yield from _pids(resources)
    yield from _block_io_v2(resources.block_io or BlockIo())
    yield from _hugepages(resources.hugepage_limits or (), "max")
    yield from _rdma(resources.rdma or {})
    yield from _unified(resources.unified or {})


def _set(controller: str, file: str, value: int | None) -> Writes:
    """One write, unless the value is not asked for."""
    if value:
        yield CgroupWrite(controller, file, str(value))


def _max(value: int) -> str:
    """A limit in version 2's words."""
    return "max" if value < 0 else str(value)


# -- cpu ---------------------------------------------------------------------


def _cpuset(cpu: Cpu) -> Writes:
    for file, value in (("cpuset.cpus", cpu.cpus), ("cpuset.mems", cpu.mems)):
        if value:
            yield CgroupWrite("cpuset", file, value)


def _cpu_v1(cpu: Cpu) -> Writes:
    yield from _set("cpu", "cpu.idle", cpu.idle)
    if not cpu.idle:  # the kernel refuses shares for an idle group
        yield from _set("cpu", "cpu.shares", cpu.shares)
    yield from _set("cpu", "cpu.cfs_period_us", cpu.period)
    yield from _set("cpu", "cpu.cfs_quota_us", cpu.quota)
    yield from _set("cpu", "cpu.cfs_burst_us", cpu.burst)
    yield from _set("cpu", "cpu.rt_period_us", cpu.realtime_period)
    yield from _set("cpu", "cpu.rt_runtime_us", cpu.realtime_runtime)


def _cpu_v2(cpu: Cpu) -> Writes:
    if cpu.realtime_period or cpu.realtime_runtime:
        raise FailedPrecondition("real-time CPU limits need cgroup v1 and this host has v2")
    yield from _set("cpu", "cpu.idle", cpu.idle)
    if cpu.shares and not cpu.idle:
        yield CgroupWrite("cpu", "cpu.weight", str(convert_shares(cpu.shares)))
    if cpu.quota or cpu.period:
        yield CgroupWrite("cpu", "cpu.max", f"{_quota(cpu.quota)} {cpu.period or _DEFAULT_PERIOD_US}")
    yield from _set("cpu", "cpu.max.burst", cpu.burst)


def _quota(quota_us: int | None) -> str:
    return str(quota_us) if quota_us and quota_us > 0 else "max"


def convert_shares(shares: int) -> int:
    """cpu.shares (2 to 262144, default 1024) as cpu.weight (1 to 10000, default 100).

    The curve of crun and newer runc through those three points; the straight
    line used before gave the default share a weight of 39.
    """
    power = math.log2(min(max(shares, 2), 262_144))
    exponent = (power * power + 125 * power) / 612 - 7 / 34
    return max(1, min(10_000, math.ceil(round(10**exponent, 6))))


# -- memory ------------------------------------------------------------------


def _memory_v1(memory: Memory) -> Writes:
    yield from _set("memory", "memory.limit_in_bytes", memory.limit)
    yield from _set("memory", "memory.memsw.limit_in_bytes", _swap_or_none(memory))
    yield from _set("memory", "memory.soft_limit_in_bytes", memory.reservation)
    yield from _set("memory", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp)
    if memory.disable_oom_killer:
        yield CgroupWrite("memory", "memory.oom_control", "1")
    if memory.swappiness is not None:
        yield CgroupWrite("memory", "memory.swappiness", str(_swappiness(memory.swappiness)))


def _memory_v2(memory: Memory) -> Writes:
    if memory.kernel_tcp or memory.disable_oom_killer or memory.swappiness is not None:
        raise FailedPrecondition(
            "kernelTCP, disableOOMKiller and swappiness need cgroup v1 and this host has v2"
        )
    swap = _swap_v2(memory)
    # Swap first: there is no moment in which memory is limited and swap is not.
    if swap is not None:
        yield CgroupWrite("memory", "memory.swap.max", _max(swap))
    if memory.limit:
        yield CgroupWrite("memory", "memory.max", _max(memory.limit))
    if memory.reservation:
        yield CgroupWrite("memory", "memory.low", _max(memory.reservation))


def _swap_or_none(memory: Memory) -> int | None:
    """Memory plus swap, checked; lifting the memory limit lifts that of both."""
    limit, swap = memory.limit or 0, memory.swap or 0
    if swap > 0 and limit < 0:
        raise InvalidArgument(f"memory.swap {swap} needs a memory.limit, and that is lifted")
    if 0 < swap < limit:
        raise InvalidArgument(f"memory.swap {swap} is less than memory.limit {limit}: it counts both")
    return -1 if limit < 0 and not swap else swap or None


def _swap_v2(memory: Memory) -> int | None:
    """memory.swap.max: swap alone, where OCI counts memory plus swap."""
    both = _swap_or_none(memory)
    if both is None or both < 0:
        return both
    if not memory.limit:
        raise InvalidArgument(f"memory.swap {both} needs a memory.limit")
    return both - memory.limit


def _swappiness(value: int) -> int:
    if not 0 <= value <= 100:
        raise InvalidArgument(f"memory.swappiness {value} is not in 0 to 100")
    return value


# -- processes, huge pages, rdma, network, raw keys ---------------------------


def _pids(resources: Resources) -> Writes:
    if resources.pids and resources.pids.limit:
        yield CgroupWrite("pids", "pids.max", _max(resources.pids.limit))


def _hugepages(limits: list[HugepageLimit] | tuple[()], knob: str) -> Writes:
    for item in limits:
        if not _matches(r"[1-9][0-9]*[KMG]B", item.page_size):
            raise InvalidArgument(
                f"hugepageLimits: page size {item.page_size!r} is not like 2MB", hint="use KB, MB or GB"
            )
        # Limiting reservations too makes mmap fail early instead of a SIGBUS later.
        for kind in ("", "rsvd."):
            yield CgroupWrite("hugetlb", f"hugetlb.{item.page_size}.{kind}{knob}", str(item.limit))


def _rdma(devices: dict[str, Rdma]) -> Writes:
    for name, limit in devices.items():
        parts = [("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects)]
        words = [f"{key}={value}" for key, value in parts if value is not None]
        if words:
            yield CgroupWrite("rdma", "rdma.max", " ".join([name, *words]))


def _network_v1(network: NetworkClass) -> Writes:
    yield from _set("net_cls", "net_cls.classid", network.class_id)
    for item in network.priorities or ():
        yield CgroupWrite("net_prio", "net_prio.ifpriomap", f"{item.name} {item.priority}")


def _unified(keys: dict[str, str]) -> Writes:
    for key, value in keys.items():
        # The key becomes a file name.
        if not _matches(r"[a-z][a-zA-Z0-9_.-]*", key):
            raise InvalidArgument(f"unified: {key!r} is not a cgroup file name")
        controller = key.partition(".")[0]
        yield CgroupWrite("" if controller == "cgroup" else controller, key, value)


# -- block devices -----------------------------------------------------------


def _throttles(block: BlockIo) -> tuple[tuple[str, str, list[ThrottleDevice]], ...]:
    """(version 1 file, version 2 key, devices) of the four kinds."""
    return (
        ("read_bps", "rbps", block.throttle_read_bps_device or []),
        ("write_bps", "wbps", block.throttle_write_bps_device or []),
        ("read_iops", "riops", block.throttle_read_iops_device or []),
        ("write_iops", "wiops", block.throttle_write_iops_device or []),
    )


def _block_io_v1(block: BlockIo) -> Writes:
    for prefix in ("blkio.bfq", "blkio"):
        yield from _set("blkio", f"{prefix}.weight", block.weight)
        yield from _device_weights("blkio", f"{prefix}.weight_device", block, lambda weight: weight)
    for kind, _, devices in _throttles(block):
        for device in devices:
            value = f"{device.major}:{device.minor} {device.rate}"
            yield CgroupWrite("blkio", f"blkio.throttle.{kind}_device", value)


def _block_io_v2(block: BlockIo) -> Writes:
    for file, convert in (("io.bfq.weight", lambda weight: weight), ("io.weight", convert_block_weight)):
        if block.weight:
            yield CgroupWrite("io", file, str(convert(block.weight)))
        yield from _device_weights("io", file, block, convert)
    for _, key, devices in _throttles(block):
        for device in devices:
            rate = device.rate or "max"
            yield CgroupWrite("io", "io.max", f"{device.major}:{device.minor} {key}={rate}")


def _device_weights(controller: str, file: str, block: BlockIo, convert: Callable[[int], int]) -> Writes:
    for item in block.weight_device or ():
        if item.weight:
            yield CgroupWrite(controller, file, f"{item.major}:{item.minor} {convert(item.weight)}")


def convert_block_weight(weight: int) -> int:
    """blkio.weight (10 to 1000) as io.weight (1 to 10000)."""
    return 1 + (weight - 10) * 9999 // 990


def _matches(pattern: str, text: str) -> bool:
    """The whole of `text`; `re` is imported for the few that need it."""
    import re

    return re.fullmatch(pattern, text) is not None


# -- device access -----------------------------------------------------------


def _devices_v1(resources: Resources) -> Writes:
    """Without rules the group keeps its parent's access."""
    if not resources.devices:
        return
    from rundlet.plan.device_rules import list_v1, read_rules

    for file, value in list_v1(read_rules(resources.devices)):
        yield CgroupWrite("devices", file, value)


def _devices_v2(resources: Resources) -> Writes:
    """Version 2 has no file for this: the value is the program to attach, in base64."""
    if not resources.devices:
        return
    import base64

    from rundlet.plan.device_filter import build_device_filter
    from rundlet.plan.device_rules import read_rules

    rules = read_rules(resources.devices)
    if rules:
        program = base64.b64encode(build_device_filter(rules)).decode()
        yield CgroupWrite("devices", DEVICE_PROGRAM, program)
