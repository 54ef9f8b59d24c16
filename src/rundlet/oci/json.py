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
    return json.dumps(value, indent=2, ensure_ascii=False)
