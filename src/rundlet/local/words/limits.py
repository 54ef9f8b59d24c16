"""Limits: memory, processors, processes, `--ulimit`."""

import re
import resource
from collections.abc import Sequence

from rundlet.errors import InvalidArgument
from rundlet.local.options import Ulimit
from rundlet.local.words.numbers import parse_size, parse_whole, suggest

_PERIOD_US = 100_000
UNLIMITED = -1
_SWAPPINESS_MAX = 100
_UMASK_MAX = 0o777
_PROCESSORS_MAX = 1 << 20
_LIMITS = {name[7:].lower(): getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}


def parse_memory(text: str) -> int:
    size_bytes = parse_size(text)
    if size_bytes <= 0:
        raise InvalidArgument("a limit must be more than nothing")
    return size_bytes


def parse_memory_swap(text: str) -> int:
    """Memory and swap together; -1 is without limit."""
    return UNLIMITED if text == "-1" else parse_memory(text)


def parse_cpus(text: str) -> tuple[int, int] | None:
    """Quota and period in microseconds of "1.5" processors; None for 0, which is no limit."""
    try:
        count = float(text)
    except ValueError as error:
        raise InvalidArgument(f"not a number of processors: {text!r}", hint="write it as 1.5") from error
    if not 0 <= count < _PROCESSORS_MAX:
        raise InvalidArgument("no such number of processors")
    return None if count == 0 else (round(count * _PERIOD_US), _PERIOD_US)


def parse_swappiness(value: int | None) -> int | None:
    """0 to 100; -1 is the host's."""
    if value is not None and not -1 <= value <= _SWAPPINESS_MAX:
        raise InvalidArgument(f"--memory-swappiness {value}: expected 0 to {_SWAPPINESS_MAX}, or -1")
    return None if value == -1 else value


def parse_umask(text: str) -> int:
    if not re.fullmatch(r"[0-7]{1,4}", text) or int(text, 8) > _UMASK_MAX:
        raise InvalidArgument("expected octal digits", hint="write it as 0022")
    return int(text, 8)


def parse_ulimit(text: str) -> Sequence[Ulimit]:
    """NAME=SOFT[:HARD]; "host" gives this process's own."""
    if text == "host":
        return [Ulimit(name, *_unlimited(resource.getrlimit(kind))) for name, kind in _LIMITS.items()]
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument("expected NAME=SOFT[:HARD]")
    name = name.removeprefix("RLIMIT_").lower()
    if name not in _LIMITS:
        raise InvalidArgument(f"unknown limit {name!r}", hint=suggest(name, _LIMITS))
    soft_text, _, hard_text = value.partition(":")
    soft = _parse_limit(soft_text)
    hard = _parse_limit(hard_text) if hard_text else soft
    if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
        raise InvalidArgument(f"the soft limit {soft_text} is over the hard one {hard}")
    return [Ulimit(name, soft, hard)]


def _unlimited(limits: tuple[int, int]) -> tuple[int, int]:
    soft, hard = (UNLIMITED if limit == resource.RLIM_INFINITY else limit for limit in limits)
    return soft, hard


def _parse_limit(text: str) -> int:
    return UNLIMITED if text == "unlimited" else parse_whole(text, "limit", UNLIMITED)
