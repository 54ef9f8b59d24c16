"""JSON of plain values; one place, so that what it costs to import can be seen to."""

import json
from typing import Any

from rundlet.errors import InvalidArgument


def read(raw: bytes, what: str) -> Any:
    """The value of a document; InvalidArgument names it and the place of the fault."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{what}: not JSON: {str(error) or 'nested too deeply'}") from error


def write(value: Any) -> str:
    """Compact, on one line."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def write_pretty(value: Any) -> str:
    """As json.dumps with an indent of 2, whose encoder in Python is 3 ms of imports away."""
    return _indent(value, "\n")


def _indent(value: Any, newline: str) -> str:
    inner = f"{newline}  "
    if isinstance(value, dict) and value:
        items = (f"{write(str(key))}: {_indent(item, inner)}" for key, item in value.items())
        return f"{{{inner}{f',{inner}'.join(items)}{newline}}}"
    if isinstance(value, list | tuple) and value:
        return f"[{inner}{f',{inner}'.join(_indent(item, inner) for item in value)}{newline}]"
    return write(value)
