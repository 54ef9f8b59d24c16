"""Checks of configuration values; every error names the JSON path and what was expected."""

import os
from collections.abc import Iterable
from typing import Any

from rundlet.errors import InvalidArgument

CONFIG = "config.json: "
ID_MAX = (1 << 32) - 2  # the last one means "no change" to the kernel


def check_range(value: int, low: int, high: int, where: str) -> int:
    """The value, when `low` <= value <= `high`."""
    if not low <= value <= high:
        raise InvalidArgument(f"{CONFIG}{where}: expected a number from {low} to {high}, got {value}")
    return value


def check_id(value: int, where: str) -> int:
    """A user or group id."""
    return check_range(value, 0, ID_MAX, where)


def check_absolute(path: str, where: str) -> str:
    """The path, when it is absolute."""
    if not check_text(path, where).startswith("/"):
        raise InvalidArgument(f"{CONFIG}{where}: expected an absolute path, got {path!r}")
    return path


def check_inside(path: str, where: str) -> str:
    """An absolute path of something in the container, which is not its root."""
    if os.path.normpath(check_absolute(path, where)).strip("/") == "":
        raise InvalidArgument(f"{CONFIG}{where}: expected a path below the root, got {path!r}")
    return path


def check_known(name: str, known: Any, where: str) -> Any:
    """`known[name]`; the error lists what there is."""
    try:
        return known[name]
    except KeyError:
        raise InvalidArgument(f"{CONFIG}{where}: expected one of {', '.join(known)}, got {name!r}") from None


def check_text(text: str, where: str) -> str:
    """The text, when it has no null byte: the kernel would see what comes before it only."""
    if "\0" in text:
        raise InvalidArgument(f"{CONFIG}{where}: expected text without null bytes, got {text!r}")
    return text


def check_words(words: Iterable[str], where: str) -> None:
    """Arguments, or an environment: each as `check_text` has it."""
    for index, word in enumerate(words):
        if "\0" in word:
            check_text(word, f"{where}[{index}]")
