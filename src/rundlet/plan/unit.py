"""Resource limits as properties of a systemd unit, beside the files of the group.  Pure.

Sources: systemd.resource-control(5), org.freedesktop.systemd1(5).

systemd writes the files of a unit's group again whenever it reloads, so it must
know every limit that it has a property for.  The rest is in the files alone.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from rundlet.errors import InvalidArgument
from rundlet.plan.device_rules import ACCESS_BITS, Rule, read_rules
from rundlet.plan.knobs import UNIT
from rundlet.plan.resources import CgroupWrite, plan_resources
from rundlet.spec.runtime import BlockIo, Cpu, Memory, Resources

_INFINITY = (1 << 64) - 1
_SECOND_US = 1_000_000
_DEFAULT_PERIOD_US = 100_000
_QUOTA_STEP_US = 10_000  # systemd keeps whole percents
_MOST_CPUS = 1 << 16
_MOST_DIGITS = 20
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_NODES = {"c": "char", "b": "block"}

Properties = Iterator[tuple[str, str, Any]]  # name, D-Bus signature, value


def plan_unit(resources: Resources, version: Literal[1, 2]) -> tuple[CgroupWrite, ...]:
    """Writes of controller UNIT, for `SystemdGroup.apply`.

    Raises as `rundlet.plan.resources.plan_resources`, and InvalidArgument for bad lists of CPUs.
    """
    files = {write.file: write.value for write in plan_resources(resources, version)}
    properties = _from_files(files) if version == 2 else _from_values(resources)
    return tuple(
        CgroupWrite(UNIT, name, json.dumps([signature, value]))
        for name, signature, value in (*properties, *_devices(read_rules(resources.devices or ())))
    )


def _limit(value: str | int) -> int:
    """A limit as systemd has it, where the largest number is none; files take K, M, G and T too."""
    text = str(value).strip()
    if text in ("max", "-1"):
        return _INFINITY
    digits, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    number = _read_number(digits) << _SHIFTS[unit] if unit in _SHIFTS else _INFINITY
    if number >= _INFINITY:
        raise InvalidArgument(f"linux.resources: {text!r} is not a limit")
    return number


def _read_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise InvalidArgument(f"linux.resources: expected a number, got {text!r}")
    return int(text)


# -- version 2: what the files say, the properties say too ---------------------------


def _from_files(files: dict[str, str]) -> Properties:
    for file, name in (
        ("memory.max", "MemoryMax"),
        ("memory.high", "MemoryHigh"),
        ("memory.low", "MemoryLow"),
        ("memory.min", "MemoryMin"),
        ("memory.swap.max", "MemorySwapMax"),
        ("pids.max", "TasksMax"),
    ):
        if file in files:
            yield name, "t", _limit(files[file])
    if files.get("cpu.idle") == "1":
        yield "CPUWeight", "t", 0
    elif "cpu.weight" in files:
        yield "CPUWeight", "t", _read_number(files["cpu.weight"])
    weight = files.get("io.weight", "").removeprefix("default ")
    if weight.isdigit():  # else it is one device's
        yield "IOWeight", "t", _read_number(weight)
    if "cpu.max" in files:
        quota, _, period = files["cpu.max"].partition(" ")
        yield from _cpu_quota(_limit(quota), _read_number(period) if period else 0)
    for file, name in (("cpuset.cpus", "AllowedCPUs"), ("cpuset.mems", "AllowedMemoryNodes")):
        if file in files:
            yield name, "ay", list(encode_cpus(files[file]))


def encode_cpus(text: str) -> bytes:
    r"""The list "0-2,8" as a mask with the first CPU in the lowest bit: b"\x07\x01"."""
    mask = 0
    for part in filter(None, map(str.strip, text.split(","))):
        first, dash, last = part.partition("-")
        low, high = _read_cpu(first, text), _read_cpu(last if dash else first, text)
        if low > high:
            raise InvalidArgument(f"cpuset {text!r}: {part!r} runs backwards")
        mask |= (1 << high + 1) - (1 << low)
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _read_cpu(word: str, text: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS) or int(word) >= _MOST_CPUS:
        raise InvalidArgument(f"cpuset {text!r}: {word!r} is not a number below {_MOST_CPUS}")
    return int(word)


# -- version 1 -----------------------------------------------------------------------


def _from_values(resources: Resources) -> Properties:
    memory, cpu = resources.memory or Memory(), resources.cpu or Cpu()
    block = resources.block_io or BlockIo()
    if memory.limit:
        yield "MemoryLimit", "t", _limit(memory.limit)
    if cpu.shares:
        yield "CPUShares", "t", cpu.shares
    yield from _cpu_quota(_limit(cpu.quota or 0), cpu.period or 0)
    if block.weight:
        yield "BlockIOWeight", "t", block.weight
    if resources.pids and resources.pids.limit:
        yield "TasksMax", "t", _limit(resources.pids.limit)


# -- both ----------------------------------------------------------------------------


def _cpu_quota(quota_us: int, period_us: int) -> Properties:
    """0 is what was not asked for; systemd counts per second, in steps, and ours are rounded up."""
    if period_us:
        yield "CPUQuotaPeriodUSec", "t", period_us
    if quota_us == _INFINITY:
        yield "CPUQuotaPerSecUSec", "t", _INFINITY
    elif quota_us:
        share = -(-quota_us * _SECOND_US // (period_us or _DEFAULT_PERIOD_US))
        yield "CPUQuotaPerSecUSec", "t", min(_INFINITY, -(-share // _QUOTA_STEP_US) * _QUOTA_STEP_US)


def _devices(rules: Sequence[Rule]) -> Properties:
    """A strict list where systemd can say it; else everything, and the group's own rules decide alone."""
    if not rules:
        return
    allowed = [entry for rule in rules[1:] for entry in _allow(rule)]
    is_plain = all(rule.allow and _is_sayable(rule) for rule in rules[1:]) and not rules[0].allow
    yield "DevicePolicy", "s", "strict" if is_plain else "auto"
    yield "DeviceAllow", "a(ss)", allowed if is_plain else []


def _is_sayable(rule: Rule) -> bool:
    """A minor number needs its major."""
    return rule.major is not None or rule.minor is None


def _allow(rule: Rule) -> Iterator[tuple[str, str]]:
    access = "".join(letter for letter in "rwm" if rule.access & ACCESS_BITS[letter])
    for kind in ("b", "c") if rule.kind == "a" else (rule.kind,):
        if rule.minor is not None:
            yield f"/dev/{_NODES[kind]}/{rule.major}:{rule.minor}", access
        else:
            yield f"{_NODES[kind]}-{'*' if rule.major is None else rule.major}", access
