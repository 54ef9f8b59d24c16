"""Options' resource limits as the runtime specification has them (config-linux.md#control-groups)."""

from collections.abc import Sequence

from msgspec.structs import replace

from rundlet.engine.options import BlockLimits, DeviceLimit
from rundlet.engine.options import Resources as Wanted
from rundlet.errors import InvalidArgument
from rundlet.spec.runtime import (
    BlockIo,
    Cpu,
    DeviceRule,
    HugepageLimit,
    Memory,
    Pids,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

_DEFAULT_PERIOD_US = 100_000  # sched-bwc.rst: what a group has before anybody writes it
_OOM_SCORE_MIN, _OOM_SCORE_MAX = -1000, 1000


def check_resources(wanted: Wanted, path: str) -> None:
    """Raises InvalidArgument "<path>.memory_limit_bytes: …"."""
    for name in ("cpu_period_us", "cpu_shares", "memory_reservation_bytes", "cpu_realtime_period_us"):
        value = getattr(wanted, name)
        if value is not None and value < 0:
            raise InvalidArgument(f"{path}.{name}: cannot be negative, got {value}")
    for name in ("cpu_quota_us", "memory_limit_bytes", "memory_swap_limit_bytes", "pids_limit"):
        value = getattr(wanted, name)
        if value is not None and value < -1:
            raise InvalidArgument(f"{path}.{name}: must be -1 (no limit) or more, got {value}")
    score = wanted.oom_score_adj
    if score is not None and not _OOM_SCORE_MIN <= score <= _OOM_SCORE_MAX:
        raise InvalidArgument(f"{path}.oom_score_adj: must be between -1000 and 1000, got {score}")


def plan_limits(wanted: Wanted, devices: Sequence[DeviceRule], *, swap_accounting: bool) -> Resources:
    """`swap_accounting`: whether the host counts swap; without it a swap limit is left out."""
    return Resources(
        devices=list(devices) or None,
        memory=_plan_memory(wanted, swap_accounting=swap_accounting),
        cpu=_plan_cpu(wanted),
        pids=Pids(limit=wanted.pids_limit) if wanted.pids_limit else None,
        block_io=_plan_block(wanted.block) if wanted.block else None,
        hugepage_limits=[HugepageLimit(size, limit) for size, limit in wanted.hugepage_limits.items()]
        or None,
        unified=wanted.unified or None,
    )


def _plan_memory(wanted: Wanted, *, swap_accounting: bool) -> Memory | None:
    limit = wanted.memory_limit_bytes or None
    swap = wanted.memory_swap_limit_bytes or None
    if limit and swap is None:
        swap = limit  # the specification's swap is memory + swap: no swap beside the limit
    memory = Memory(
        limit=limit,
        swap=swap if swap_accounting else None,
        reservation=wanted.memory_reservation_bytes or None,
        swappiness=wanted.memory_swappiness,
        disable_oom_killer=wanted.oom_kill_disabled or None,
    )
    return memory if memory != Memory() else None


def _plan_block(wanted: BlockLimits) -> BlockIo:
    weights = [WeightDevice(one.major, one.minor, weight=one.value) for one in wanted.weights]
    return BlockIo(
        weight=wanted.weight or None,
        weight_device=weights or None,
        throttle_read_bps_device=_plan_throttles(wanted.read_bytes),
        throttle_write_bps_device=_plan_throttles(wanted.write_bytes),
        throttle_read_iops_device=_plan_throttles(wanted.read_operations),
        throttle_write_iops_device=_plan_throttles(wanted.write_operations),
    )


def _plan_throttles(limits: Sequence[DeviceLimit]) -> list[ThrottleDevice] | None:
    return [ThrottleDevice(one.major, one.minor, one.value) for one in limits] or None


def _plan_cpu(wanted: Wanted) -> Cpu | None:
    # CRI sends 0 for "not asked for"; a quota of 0 would be refused by the kernel.
    cpu = Cpu(
        shares=wanted.cpu_shares or None,
        quota=wanted.cpu_quota_us or None,
        period=wanted.cpu_period_us or None,
        cpus=wanted.cpuset_cpus,
        mems=wanted.cpuset_mems,
        realtime_period=wanted.cpu_realtime_period_us or None,
        realtime_runtime=wanted.cpu_realtime_runtime_us or None,
    )
    return cpu if cpu != Cpu() else None


def clamp_oom_score(wanted: int | None, *, own: int, may_lower: bool) -> int | None:
    """Without CAP_SYS_RESOURCE a score can only rise (proc(5)), so `own`, this process's, is the least."""
    if wanted is None or may_lower:
        return wanted
    return max(wanted, own)


def merge_resources(old: Wanted, new: Wanted) -> Wanted:
    """`new` over `old`: what an update does not mention keeps its value."""
    fields = {name: getattr(new, name) for name in Wanted.__struct_fields__}
    kept = {name: getattr(old, name) for name, value in fields.items() if value in (None, "", {})}
    return Wanted(**(fields | kept))


def add_overhead(wanted: Wanted, overhead: Wanted) -> Wanted:
    """What a pod's group may use: the containers' resources and the sandbox's own beside them.

    Where the containers have no limit there stays none.  The quota is for the containers' period.
    """
    period_us = wanted.cpu_period_us or _DEFAULT_PERIOD_US
    quota_us = (overhead.cpu_quota_us or 0) * period_us // (overhead.cpu_period_us or _DEFAULT_PERIOD_US)
    hugepages = {
        size: limit + overhead.hugepage_limits.get(size, 0) for size, limit in wanted.hugepage_limits.items()
    }
    return replace(
        wanted,
        cpu_quota_us=_add_limit(wanted.cpu_quota_us, quota_us),
        cpu_shares=_add_limit(wanted.cpu_shares, overhead.cpu_shares),
        memory_limit_bytes=_add_limit(wanted.memory_limit_bytes, overhead.memory_limit_bytes),
        memory_swap_limit_bytes=_add_limit(wanted.memory_swap_limit_bytes, overhead.memory_limit_bytes),
        hugepage_limits=hugepages,
    )


def _add_limit(limit: int | None, more: int | None) -> int | None:
    """None, 0 and -1 are no limit, and stay what they are."""
    return limit + max(more or 0, 0) if limit and limit > 0 else limit
