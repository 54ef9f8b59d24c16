"""RFC 3339 times of image configs, to the nanosecond that Go writes them with."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_TIMESTAMP: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d{2}):(\d{2}))"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_timestamp_ns(text: str) -> int:
    """Nanoseconds since 1970 of "2024-05-22T18:18:53.123456789Z"; 0 for "" and what is no time."""
    found = _TIMESTAMP.fullmatch(text)
    if not found:
        return 0
    day, clock, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
    except ValueError:
        return 0
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    moment += offset if sign == "-" else -offset
    return (moment - _EPOCH) // timedelta(seconds=1) * 10**9 + int((fraction or "").ljust(9, "0"))
