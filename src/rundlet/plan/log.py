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


class LineFormatter:
    """One stream of one container: chunks as they are read become log lines.

    A line that has not ended yet is kept back until it ends, grows over
    LINE_MAX_BYTES (then it is written in P pieces) or the stream is closed.
    """

    __slots__ = ("_rest", "_stream")

    def __init__(self, stream: str) -> None:
        self._stream = stream.encode()
        self._rest = b""

    def feed(self, chunk: bytes, time_ns: int) -> bytes:
        """The log text that `chunk` completes."""
        whole, newline, rest = (self._rest + chunk).rpartition(b"\n")
        prefix = b"%s %s " % (format_timestamp(time_ns), self._stream)
        text = self._format(whole, prefix) if newline else b""
        pieces, self._rest = _cut(rest)
        return text + b"".join(b"%sP %s\n" % (prefix, piece) for piece in pieces)

    def _format(self, whole: bytes, prefix: bytes) -> bytes:
        """Whole lines without their last newline; the quick way when none is too long."""
        full = prefix + b"F "
        if len(whole) <= LINE_MAX_BYTES or max(map(len, whole.split(b"\n"))) <= LINE_MAX_BYTES:
            return full + whole.replace(b"\n", b"\n" + full) + b"\n"
        return b"".join(self._format_long(line, prefix) for line in whole.split(b"\n"))

    def _format_long(self, line: bytes, prefix: bytes) -> bytes:
        pieces, last = _cut(line)
        return b"".join(b"%sP %s\n" % (prefix, piece) for piece in pieces) + b"%sF %s\n" % (prefix, last)

    def close(self, time_ns: int) -> bytes:
        """What is left of a stream that did not end with a newline."""
        rest, self._rest = self._rest, b""
        return b"%s %s F %s\n" % (format_timestamp(time_ns), self._stream, rest) if rest else b""


def _cut(line: bytes) -> tuple[list[bytes], bytes]:
    """Pieces of LINE_MAX_BYTES, and what is left (never longer than one)."""
    pieces = []
    while len(line) > LINE_MAX_BYTES:
        pieces.append(line[:LINE_MAX_BYTES])
        line = line[LINE_MAX_BYTES:]
    return pieces, line
