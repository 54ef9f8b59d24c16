"""Reading a container's log file: the last lines, then what is appended, across rotations."""

import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from rundlet.errors import InvalidArgument, NotFound, PermissionDenied

BLOCK_BYTES = 65536
POLL_S = 0.1
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?)?")


def is_time(text: str) -> bool:
    return _TIMESTAMP.fullmatch(text) is not None


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch of RFC 3339 text; date or zone may be left out (UTC).

    Raises InvalidArgument.
    """
    found = _TIMESTAMP.fullmatch(text)
    if not found:
        raise InvalidArgument(f"not a time: {text!r}", hint="write it as 2026-01-31T13:00:00Z, 42m or 1h30m")
    date, clock, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{clock or '00:00:00'}{(zone or 'Z').replace('Z', '+00:00')}")
    except ValueError as error:
        raise InvalidArgument(f"not a time: {text!r}: {error}") from error
    return int(moment.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def open_log(path: str) -> int:
    """A descriptor; NotFound or PermissionDenied."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(
            f"no log file {path}", hint="is the runtime on this machine, and was the log kept?"
        ) from error
    except PermissionError as error:
        raise PermissionDenied(f"may not read the log {path}", hint="run it as root") from error


def tail_offset(fd: int, lines: int) -> int:
    """Where the last `lines` lines begin; reads from the end, so size does not matter."""
    end = os.fstat(fd).st_size
    if lines <= 0:
        return end
    position, wanted = end, lines
    while position > 0:
        start = max(0, position - BLOCK_BYTES)
        block = os.pread(fd, position - start, start)
        if position == end and not block.endswith(b"\n"):
            wanted -= 1  # a line still being written counts as one
        breaks = block.count(b"\n")
        if breaks > wanted:
            return start + _nth_last_break(block, wanted + 1) + 1
        wanted -= breaks
        position = start
    return 0


def _nth_last_break(block: bytes, count: int) -> int:
    found = len(block)
    for _ in range(count):
        found = block.rindex(b"\n", 0, found)
    return found


def _replaced(fd: int, path: str) -> bool:
    """Whether the path names another file by now: the kubelet renames and reopens."""
    try:
        return not os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


class LogReader:
    """Whole lines, without their newline, of a log file that may grow and be rotated."""

    def __init__(self, path: str, tail: int) -> None:
        self.path = path
        self._fd = open_log(path)
        self._offset = tail_offset(self._fd, tail) if tail >= 0 else 0
        self._rest = b""

    def close(self) -> None:
        os.close(self._fd)

    def read(self) -> Iterator[bytes]:
        """The lines that are there now; an unfinished one is kept for the next time."""
        while block := os.pread(self._fd, BLOCK_BYTES, self._offset):
            self._offset += len(block)
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from lines

    def follow(self, ended: Callable[[], bool]) -> Iterator[bytes]:
        """Lines as they come, until `ended` says that no more will."""
        while True:
            last_round = ended()
            yield from self.read()
            if _replaced(self._fd, self.path):
                yield from self.read()
                self._reopen()
            elif last_round:
                return
            else:
                time.sleep(POLL_S)

    def _reopen(self) -> None:
        fresh = open_log(self.path)
        os.close(self._fd)
        self._fd, self._offset, self._rest = fresh, 0, b""
