"""--since and --until: moments, or how long ago."""

from rundlet.cli.duration import parse_duration
from rundlet.local.logfile import is_time, parse_time


def parse_since(text: str, now_ns: int) -> int:
    """--since: a moment, seconds since the epoch, or a duration before now; 0 for ""."""
    if not text:
        return 0
    if is_time(text):
        return parse_time(text)
    whole, _, part = text.partition(".")
    if whole.isdecimal() and (not part or part.isdecimal()):
        return int(whole) * 1_000_000_000 + int(part[:9].ljust(9, "0"))
    return now_ns - int(parse_duration(text) * 1_000_000_000)
