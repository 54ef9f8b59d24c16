"""Sizes, durations, switches and lists of key=value as podman writes them."""

import csv
import math
import re
from collections.abc import Iterable, Sequence

from rundlet.errors import InvalidArgument

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([bkmgtp]?)(?:i?b)?", re.IGNORECASE)
_FACTORS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SWITCH = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}


def parse_size(text: str) -> int:
    """Bytes of "64m", "1.5g", "512" or "64MiB": all units are powers of 1024, as Docker counts memory."""
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _FACTORS[found[2].lower()] if found else math.inf
    if size >= 1 << 63:
        raise InvalidArgument(f"not a size: {text!r}", hint="write it as 512m or 2g")
    return int(size)


def parse_span(text: str) -> float:
    """Seconds of a Go duration ("1h30m", "250ms") or of a plain number."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise InvalidArgument(f"not a duration: {text!r}", hint="write it as 30s, 5m or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def parse_switch(text: str) -> bool:
    """Go's strconv.ParseBool."""
    if text not in _SWITCH:
        raise InvalidArgument(f"neither true nor false: {text!r}")
    return _SWITCH[text]


def parse_whole(text: str, what: str, lowest: int = 0) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or int(text) < lowest:
        raise InvalidArgument(f"{what}: expected a whole number of at least {lowest}, got {text!r}")
    return int(text)


def split_comma(text: str) -> tuple[str, ...]:
    """One record of CSV, for the options that take lists: a value with a comma stands in quotes."""
    try:
        return tuple(next(csv.reader([text], strict=True), ()))
    except csv.Error as error:
        raise InvalidArgument(f"not a list: {text!r}: {error}") from error


def split_pair(text: str, what: str = "NAME=VALUE") -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidArgument(f"expected {what}, got {text!r}")
    return name, value


def read_pairs(texts: Iterable[str], what: str = "NAME=VALUE") -> dict[str, str]:
    """The last of a name counts."""
    return dict(split_pair(text, what) for text in texts)


def split_options(texts: Sequence[str], known: Iterable[str]) -> dict[str, str]:
    """`key=value` and bare `key` (its value is ""); InvalidArgument names the known one that is meant."""
    options = {}
    names = frozenset(known)
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names:
            raise InvalidArgument(f"unknown option {name!r}", hint=suggest(name, names))
        options[name] = value
    return options


def suggest(name: str, names: Iterable[str]) -> str:
    """ "did you mean …?" for the nearest, else all of them."""
    from difflib import get_close_matches

    ordered = sorted(names)
    near = get_close_matches(name, ordered, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(ordered)}"
