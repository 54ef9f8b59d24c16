"""linux.resources.devices as rules that can be judged, and as version 1's device lists.

Source: config-linux.md#allowed-device-list.  Rules apply in order: for each kind of
access the last one that names the device decides, and before the first nothing is
allowed, as runc and crun have it.

Version 1 keeps a default and exceptions from it (cgroup-v1/devices.rst), so it
cannot take one device out of a wildcard again.  Such a rule is refused there:
the kernel would take it and change nothing.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.spec.runtime import DeviceRule

# BPF_DEVCG_ACC_* of <linux/bpf.h>
ACCESS_BITS = {"m": 1, "r": 2, "w": 4}
ANY_ACCESS = 7
_HIGHEST_NUMBER = 0xFFFF_FFFF


class Rule(NamedTuple):
    """`kind` is "a" (any), "b" or "c"; a number of None is any; `access` is a sum of ACCESS_BITS."""

    allow: bool
    kind: str = "a"
    major: int | None = None
    minor: int | None = None
    access: int = ANY_ACCESS

    @property
    def is_total(self) -> bool:
        """Whether nothing before it counts."""
        return self == Rule(self.allow)

    def covers(self, other: "Rule") -> bool:
        """Whether every device that `other` names is named here too."""
        return (
            self.kind in ("a", other.kind)
            and self.major in (None, other.major)
            and self.minor in (None, other.minor)
        )

    def meets(self, other: "Rule") -> bool:
        """Whether a device and an access can fall under both."""
        return bool(self.access & other.access) and all(
            mine == theirs or mine in ("a", None) or theirs in ("a", None)
            for mine, theirs in zip(self[1:4], other[1:4], strict=True)
        )


_NOTHING = Rule(allow=False)

# Every container may use these (config-linux.md#default-devices) and make
# device nodes, which it cannot open unless a rule lets it.
_DEFAULTS = (
    Rule(True, "c", access=ACCESS_BITS["m"]),
    Rule(True, "b", access=ACCESS_BITS["m"]),
    *(
        Rule(True, "c", major, minor)
        for major, minor in (
            (1, 3),  # null
            (1, 5),  # zero
            (1, 7),  # full
            (1, 8),  # random
            (1, 9),  # urandom
            (5, 0),  # tty
            (5, 1),  # console
            (5, 2),  # ptmx
            (136, None),  # pts/*
        )
    ),
)


def read_rules(given: Sequence[DeviceRule]) -> list[Rule]:
    """The rules from the last one that settles everything, then the default devices; none for none.

    Raises InvalidArgument for a type or an access that is not one.
    """
    if not given:
        return []
    rules = [_NOTHING, *map(_read_rule, given), *_DEFAULTS]
    last = max(index for index, rule in enumerate(rules) if rule.is_total)
    return rules[last:]


def _read_rule(rule: DeviceRule) -> Rule:
    kind, access = rule.type or "a", rule.access or "rwm"
    if kind not in ("a", "b", "c"):
        raise InvalidArgument(f"devices: type {rule.type!r} is not a, b or c")
    if set(access) - set(ACCESS_BITS):
        raise InvalidArgument(f"devices: access {rule.access!r} is not made of r, w and m")
    bits = sum(ACCESS_BITS[letter] for letter in set(access))
    return Rule(rule.allow, kind, _read_number(rule.major), _read_number(rule.minor), bits)


def _read_number(number: int | None) -> int | None:
    if number is None or number < 0:
        return None
    if number > _HIGHEST_NUMBER:
        raise InvalidArgument(f"devices: number {number} does not fit 32 bits")
    return number


# -- version 1 -----------------------------------------------------------------


def list_v1(rules: Sequence[Rule]) -> Iterator[tuple[str, str]]:
    """(devices.allow or devices.deny, value) of rules whose first settles everything.

    Raises InvalidArgument for a rule that the kernel's list cannot hold.
    """
    exceptions: dict[Rule, int] = {}  # rule without its access → access
    default = bool(rules) and rules[0].allow
    for rule in rules:
        if rule.is_total:
            yield _format_v1(rule)
            continue
        for part in _split(rule):
            if rule.allow == default:
                for gone in _take_out(part, exceptions):
                    yield _format_v1(gone)
            else:
                key = part._replace(access=0)
                exceptions[key] = exceptions.get(key, 0) | part.access
            yield _format_v1(part)


def _split(rule: Rule) -> tuple[Rule, ...]:
    """The kernel reads "a" as everything whatever follows it, so a narrower rule becomes two."""
    return (rule._replace(kind="b"), rule._replace(kind="c")) if rule.kind == "a" else (rule,)


def _take_out(rule: Rule, exceptions: dict[Rule, int]) -> Iterator[Rule]:
    """The removals that `rule` needs beside its own: the kernel removes exact entries only."""
    for key, access in list(exceptions.items()):
        if not rule.meets(key._replace(access=access)):
            continue
        if not rule.covers(key):
            raise InvalidArgument(
                f"devices: {_device(rule)} cannot be taken out of {_device(key)}: cgroup v1 keeps no holes",
                hint="name the devices that are allowed one by one",
            )
        exceptions[key] = access & ~rule.access
        if (key.major, key.minor) != (rule.major, rule.minor):
            yield key._replace(allow=rule.allow, access=access & rule.access)


def _device(rule: Rule) -> str:
    major, minor = ("*" if number is None else number for number in (rule.major, rule.minor))
    return f"{rule.kind} {major}:{minor}"


def _format_v1(rule: Rule) -> tuple[str, str]:
    access = "".join(letter for letter in "rwm" if rule.access & ACCESS_BITS[letter])
    return ("devices.allow" if rule.allow else "devices.deny"), f"{_device(rule)} {access}"
