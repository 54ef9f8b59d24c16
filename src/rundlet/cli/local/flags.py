"""Declares options from tables: one row an option, for the verbs that have dozens of them.

kind    how often            value
TEXT    the last counts      a text
NUMBER  the last counts      a whole number
MANY    may be repeated      each a text
LIST    may be repeated      each texts with commas between
SWITCH  true when given      --name=false is understood too
MAYBE   a switch             None when it is not given
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from rundlet.errors import Error
from rundlet.local.words.numbers import split_comma

TEXT, NUMBER, MANY, LIST, SWITCH, MAYBE = "text", "number", "many", "list", "switch", "maybe"
Value = TypeVar("Value")


class Flag(NamedTuple):
    """`names` are an option's spellings, "-v --volume"; `metavar` is empty for a switch."""

    names: str
    kind: str
    metavar: str
    help: str
    default: Any = None


def declare(flags: Iterable[Flag]) -> Callable[[Any], Any]:
    """A decorator that gives a command these options."""

    def decorate(command: Any) -> Any:
        for flag in reversed(tuple(flags)):
            command = _DECLARE[flag.kind](flag)(command)
        return command

    return decorate


def _declare_text(flag: Flag) -> Callable[[Any], Any]:
    return click.option(*flag.names.split(), metavar=flag.metavar, default=flag.default, help=flag.help)


def _declare_number(flag: Flag) -> Callable[[Any], Any]:
    return click.option(
        *flag.names.split(), metavar=flag.metavar, type=int, default=flag.default, help=flag.help
    )


def _declare_many(flag: Flag) -> Callable[[Any], Any]:
    return click.option(*flag.names.split(), metavar=flag.metavar, multiple=True, help=flag.help)


def _declare_switch(flag: Flag) -> Callable[[Any], Any]:
    return click.option(*flag.names.split(), is_flag=True, default=bool(flag.default), help=flag.help)


def _declare_maybe(flag: Flag) -> Callable[[Any], Any]:
    return click.option(*flag.names.split(), is_flag=True, default=None, help=flag.help)


_DECLARE: Mapping[str, Callable[[Flag], Callable[[Any], Any]]] = {
    TEXT: _declare_text,
    NUMBER: _declare_number,
    MANY: _declare_many,
    LIST: _declare_many,
    SWITCH: _declare_switch,
    MAYBE: _declare_maybe,
}


def read_list(texts: Sequence[str]) -> tuple[str, ...]:
    """The parts of a LIST."""
    return tuple(part for text in texts for part in split_comma(text))


def read_each(option: str, texts: Iterable[str], parse: Callable[[str], Value]) -> tuple[Value, ...]:
    return tuple(read_one(option, text, parse) for text in texts)


def read_one(option: str, text: str, parse: Callable[[str], Value]) -> Value:
    """What `parse` makes of it; its error names the option."""
    try:
        return parse(text)
    except Error as error:
        raise type(error)(f"{option} {text}: {error.message}", hint=error.hint) from error
