"""Inputs of the stream targets: a JSON list of steps, so that a mutation changes frames and not their bytes.

["frame", field, …]    encoded as the protocol has it; "raw" stands for bytes as latin-1
"""

import json
from typing import Any

from rundlet.errors import InvalidArgument

STEPS_MAX = 60


def read_script(data: bytes) -> list[list[Any]]:
    """The steps; InvalidArgument for what is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("no script") from error
    if not isinstance(value, list) or not all(isinstance(step, list) and step for step in value):
        raise InvalidArgument("no script")
    return value[:STEPS_MAX]


def to_number(value: Any, most: int) -> int:
    """Any JSON value as a number of the field's width."""
    return value % (most + 1) if isinstance(value, int) else len(str(value)) % (most + 1)


def to_bytes(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode("latin-1", "replace")


def to_headers(value: Any) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {
        str(key).encode("latin-1", "replace").decode("latin-1"): to_bytes(item).decode("latin-1")
        for key, item in pairs
    }
