"""The CRI log format, as kubelet and crictl read it.

    2026-11-23T14:45:00.123456789Z stdout F the line
    └ RFC 3339 with nanoseconds    │      └ F: a whole line, P: more of it follows
                                   └ stdout or stderr

Only bytes in and out: who reads and writes files is elsewhere.
"""

import time
from typing import NamedTuple

from rundlet.errors import InvalidArgument

LINE_MAX_BYTES = 16384
PREFIX_MAX_BYTES = len("2026-11-23T14:45:00.123456789Z stdout F ")


class LogLine(NamedTuple):
    """One line of a log; `partial` means that the next line of the stream continues it."""

    timestamp: str
    stream: str
    partial: bool
    content: bytes


def parse_log_line(line: bytes) -> LogLine:
    """A line without its newline; InvalidArgument when it is not of the format."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or parts[1] not in (b"stdout", b"stderr") or parts[2][:1] not in (b"F", b"P"):
        raise InvalidArgument(f"log line is not in CRI format: {line[:80]!r}")
    try:
        timestamp = parts[0].decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"log line has no timestamp: {line[:80]!r}") from error
    return LogLine(timestamp, parts[1].decode("ascii"), parts[2][:1] == b"P", parts[3])


def format_timestamp(time_ns: int) -> bytes:
    """Nanoseconds since the epoch as RFC 3339 in UTC."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return b"%s.%09dZ" % (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode(), rest)


def format_lines(stream: str, data: bytes, time_ns: int) -> tuple[list[bytes | memoryview], int]:
    """The log text of what is complete in `data`, in parts, and how many bytes of `data` that is.

    Complete is a line that has ended, and LINE_MAX_BYTES of one that has not (a P piece).
    """
    prefix = b"%s %s " % (format_timestamp(time_ns), stream.encode())
    used = data.rfind(b"\n") + 1
    parts = _format_whole(data[:used], prefix) if used else []
    while len(data) - used > LINE_MAX_BYTES:
        parts.append(b"%sP %s\n" % (prefix, data[used : used + LINE_MAX_BYTES]))
        used += LINE_MAX_BYTES
    return parts, used


def format_rest(stream: str, rest: bytes, time_ns: int, *, partial: bool) -> bytes:
    """The log line of output that has not ended by a newline; `partial` when more of it may come."""
    return b"%s %s %s %s\n" % (format_timestamp(time_ns), stream.encode(), b"P" if partial else b"F", rest)


def _format_whole(whole: bytes, prefix: bytes) -> list[bytes | memoryview]:
    """Whole lines with their newlines; the quick way, which copies once, when none is too long."""
    full = prefix + b"F "
    if _is_short(whole):
        return [full, memoryview(whole.replace(b"\n", b"\n" + full))[: -len(full)]]
    return [b"".join(_format_long(line, prefix) for line in whole[:-1].split(b"\n"))]


def _is_short(whole: bytes) -> bool:
    """Whether no line is longer than LINE_MAX_BYTES: from newline to newline in strides of that length."""
    start = 0
    while len(whole) - start > LINE_MAX_BYTES + 1:
        start = whole.rfind(b"\n", start, start + LINE_MAX_BYTES + 1) + 1
        if not start:
            return False
    return True


def _format_long(line: bytes, prefix: bytes) -> bytes:
    pieces = [line[start : start + LINE_MAX_BYTES] for start in range(0, len(line), LINE_MAX_BYTES)] or [b""]
    last = pieces.pop()
    return b"".join(b"%sP %s\n" % (prefix, piece) for piece in pieces) + b"%sF %s\n" % (prefix, last)
