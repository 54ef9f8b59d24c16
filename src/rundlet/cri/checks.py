"""Checks of single CRI fields: each returns the value or raises InvalidArgument
that begins with the path of the field ("config.mounts[2].host_path: …").
"""

import ipaddress
import os
from collections.abc import Mapping
from typing import TypeVar

from rundlet.errors import InvalidArgument, Unimplemented

T = TypeVar("T")


def choose(table: Mapping[int, T], number: int, path: str) -> T:
    """The meaning of an enum number; proto3 enums are open, so any int32 may come."""
    if number not in table:
        raise InvalidArgument(f"{path}: unknown value {number}", hint=f"known values: 0 to {max(table)}")
    return table[number]


def require_text(value: str, path: str) -> str:
    """A name or id: not empty and free of NUL, which no path or argument can hold."""
    if not value:
        raise InvalidArgument(f"{path}: must not be empty")
    return check_text(value, path)


def check_text(value: str, path: str) -> str:
    if "\0" in value:
        raise InvalidArgument(f"{path}: contains a NUL byte")
    return value


def require_absolute(value: str, path: str) -> str:
    if not require_text(value, path).startswith("/"):
        raise InvalidArgument(f"{path}: must be an absolute path, got {value!r}")
    return value


def check_absolute(value: str, path: str) -> str:
    """Empty (not given) or absolute."""
    return require_absolute(value, path) if value else ""


def check_relative(value: str, path: str) -> str:
    """Empty, or a path that stays below the directory it is joined to."""
    if value.startswith("/") or os.pardir in check_text(value, path).split("/"):
        raise InvalidArgument(f"{path}: must be a relative path without '..', got {value!r}")
    return value


def check_range(value: int, low: int, high: int, path: str) -> int:
    if not low <= value <= high:
        raise InvalidArgument(f"{path}: must lie between {low} and {high}, got {value}")
    return value


def check_address(value: str, path: str) -> str:
    """Empty, or an IPv4 or IPv6 address."""
    try:
        return str(ipaddress.ip_address(value)) if value else ""
    except ValueError as error:
        raise InvalidArgument(f"{path}: not an IP address: {value!r}") from error


def refuse(given: bool, path: str, what: str) -> None:
    """Refuses what rundlet cannot do yet, rather than doing something else silently."""
    if given:
        raise Unimplemented(f"{path}: rundlet does not support {what} yet")
