"""Command lines as the tables in `rundlet.oci.commands` describe them.

A table of flags and fifty lines, because a general parser (argparse: 12 ms)
would cost as much as the container.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rundlet.errors import InvalidArgument

_TRUE = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
_SIZES = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DURATIONS = (("ms", 0.001), ("us", 1e-6), ("s", 1.0), ("m", 60.0), ("h", 3600.0))


class Arguments:
    """Flags by name as attributes would be too clever: ask with the method of the kind you expect."""

    def __init__(self, flags: Mapping[str, Any], words: list[str]) -> None:
        self.flags = flags
        self.words = words

    def has(self, name: str) -> bool:
        """A switch that is on."""
        return bool(self.flags.get(name, False))

    def text(self, name: str, default: str = "") -> str:
        return str(self.flags.get(name, default))

    def many(self, name: str) -> list[str]:
        return list(self.flags.get(name, ()))

    def number(self, name: str, default: int = 0) -> int:
        return int(self.flags.get(name, default))

    def get(self, name: str) -> Any:
        """The value, None when the flag was not given."""
        return self.flags.get(name)


def parse_arguments(argv: list[str], table: str, *, flags_first: bool) -> Arguments:
    """Flags and words of `argv`; with `flags_first` the first word ends the flags.

    Raises InvalidArgument for a flag that `table` does not have, or a value that is not of its kind.
    """
    kinds = _read_table(table)
    flags: dict[str, Any] = {}
    words: list[str] = []
    rest = iter(argv)
    for argument in rest:
        if argument == "--":
            words += rest
        elif argument[:1] != "-" or argument == "-":
            words.append(argument)
            if flags_first:
                words += rest
        else:
            _take_flag(argument, kinds, flags, rest)
    return Arguments(flags, words)


def _take_flag(
    argument: str, kinds: dict[str, tuple[str, str]], flags: dict[str, Any], rest: Iterator[str]
) -> None:
    given, equals, value = argument.lstrip("-").partition("=")
    if given not in kinds:
        raise InvalidArgument(
            f"flag {argument.partition('=')[0]} is not known", hint="--help lists those that are"
        )
    name, kind = kinds[given]
    if kind == "switch":
        flags[name] = _read_switch(name, value) if equals else True
        return
    if not equals:
        try:
            value = next(rest)
        except StopIteration:
            raise InvalidArgument(f"flag --{name} needs a value") from None
    if kind == "list":
        flags.setdefault(name, []).append(value)
    else:
        flags[name] = _READERS[kind](name, value)


def _read_table(table: str) -> dict[str, tuple[str, str]]:
    """{name or short: (name, kind)}."""
    kinds = {}
    for entry in table.split():
        names, _, kind = entry.partition("=")
        name, _, short = names.partition(",")
        kinds[name] = (name, kind or "switch")
        if short:
            kinds[short] = kinds[name]
    return kinds


def _read_switch(name: str, value: str) -> bool:
    try:
        return _TRUE[value.lower()]
    except KeyError:
        raise InvalidArgument(f"flag --{name}: expected true or false, got {value!r}") from None


def _read_text(_: str, value: str) -> str:
    return value


def _read_number(name: str, value: str) -> int:
    try:
        return int(value, 0)
    except ValueError:
        raise InvalidArgument(f"flag --{name}: expected a number, got {value!r}") from None


def _read_size(name: str, value: str) -> int:
    """Bytes: 1048576, 1024k, 1m; -1 for no limit."""
    text = value.lower().removesuffix("b")
    factor = _SIZES.get(text[-1:], 0)
    return _read_number(name, text[:-1]) * factor if factor else _read_number(name, text)


def _read_duration(name: str, value: str) -> float:
    """Seconds."""
    for unit, factor in _DURATIONS:
        number = value.removesuffix(unit)
        if number != value and number.replace(".", "", 1).isdigit():
            return float(number) * factor
    if value.replace(".", "", 1).isdigit():
        return float(value)
    raise InvalidArgument(f"flag --{name}: expected a duration like 5s, got {value!r}")


_READERS = {"text": _read_text, "number": _read_number, "size": _read_size, "duration": _read_duration}
