"""Enum numbers of the wire."""

from collections.abc import Mapping
from typing import TypeVar

from rundlet.errors import InvalidArgument

T = TypeVar("T")


def choose(table: Mapping[int, T], number: int, path: str) -> T:
    """The meaning of an enum number; proto3 enums are open, so any int32 may come."""
    if number not in table:
        raise InvalidArgument(f"{path}: unknown value {number}", hint=f"known values: 0 to {max(table)}")
    return table[number]
