"""Text for people: columns, durations, sizes and times, spelled as crictl spells them."""

import time
from collections.abc import Mapping, Sequence

ID_LENGTH = 13
COLUMN_WIDTH = 20
COLUMN_GAP = 3
_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_MINUTE_S, _HOUR_S, _DAY_H = 60, 3600, 24


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length; every column but the last is at least 20 wide with 3 blanks between."""
    widths = [
        max(COLUMN_WIDTH, *(len(cell) + COLUMN_GAP for cell in column)) for column in zip(*rows, strict=True)
    ]
    lines = (
        "".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + row[-1]
        for row in rows
    )
    return "".join(line + "\n" for line in lines)


def short_id(text: str) -> str:
    """The first 13 digits, without "sha256:"."""
    return text.removeprefix("sha256:")[:ID_LENGTH]


def human_age(created_at_ns: int) -> str:
    return human_duration(time.time() - created_at_ns / 1e9) + " ago"


def human_duration(seconds: float) -> str:
    """One rounded unit: "42 seconds", "About an hour", "3 weeks"."""
    if seconds < _MINUTE_S:
        whole = int(seconds)
        return "Less than a second" if whole < 1 else "1 second" if whole == 1 else f"{whole} seconds"
    if seconds < _HOUR_S:
        minutes = int(seconds / _MINUTE_S)
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / _HOUR_S + 0.5)
    if hours == 1:
        return "About an hour"
    return _human_days(hours, int(seconds / _HOUR_S))


def _human_days(rounded_hours: int, whole_hours: int) -> str:
    """Each unit is used until two of the next are reached."""
    for limit, divisor, unit in (
        (2, 1, "hours"),
        (14, 24, "days"),
        (60, 24 * 7, "weeks"),
        (730, 24 * 30, "months"),
    ):
        if rounded_hours < limit * _DAY_H:
            return f"{rounded_hours // divisor} {unit}"
    return f"{whole_hours // _DAY_H // 365} years"


def human_size(size_bytes: float, digits: int = 4) -> str:
    """Decimal units with that many significant digits: 12.4MB."""
    unit = 0
    while size_bytes >= 1000 and unit < len(_SIZE_UNITS) - 1:
        size_bytes /= 1000
        unit += 1
    return f"{size_bytes:.{digits}g}{_SIZE_UNITS[unit]}"


def _split_time(timestamp_ns: int) -> tuple[time.struct_time, str]:
    """Local time and the fraction ".373680832", "" when zero."""
    seconds, nanoseconds = divmod(timestamp_ns, 1_000_000_000)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return time.localtime(seconds), fraction


def long_time(timestamp_ns: int) -> str:
    """2016-12-14 15:59:04.373680832 +0000 UTC."""
    moment, fraction = _split_time(timestamp_ns)
    return time.strftime("%Y-%m-%d %H:%M:%S", moment) + fraction + time.strftime(" %z %Z", moment)


def rfc3339_time(timestamp_ns: int) -> str:
    """2016-12-14T15:59:04.373680832Z, or with the local offset; year 1 for "never"."""
    if timestamp_ns == 0:
        return "0001-01-01T00:00:00Z"
    moment, fraction = _split_time(timestamp_ns)
    offset = time.strftime("%z", moment)
    zone = "Z" if offset == "+0000" else f"{offset[:3]}:{offset[3:]}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + fraction + zone


def format_map(title: str, values: Mapping[str, str]) -> list[str]:
    """ "Labels:" and its sorted lines; nothing when there are none."""
    return [f"{title}:", *(f"\t{key} -> {values[key]}" for key in sorted(values))] if values else []
