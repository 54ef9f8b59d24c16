"""A container's output on its way from its FIFOs to its log and to whoever is attached.

`rundlet.keeper.journal` says why the bytes stay in the FIFO until they are in the log.
"""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from rundlet.keeper.attach import CHANNELS, Audience
from rundlet.keeper.journal import Batch, Journal
from rundlet.keeper.logfile import LogFile, settle
from rundlet.kernel import pipe
from rundlet.kernel.malloc import keep_freed
from rundlet.plan.log import LINE_MAX_BYTES, PREFIX_MAX_BYTES, format_lines, format_rest

BATCH_BYTES = 1 << 17
_KEPT_BYTES = 1 << 21
_CHATTY_BYTES = 1 << 15
_TERMINAL_BYTES = 1 << 16
_EINVAL = 22


class Scratch:
    """Room for one batch, shared by all streams of the one thread."""

    def __init__(self, journal_path: str) -> None:
        keep_freed(_KEPT_BYTES)
        self.journal = Journal(journal_path)
        self.pipe_bytes = min(pipe.max_size(), 1 << 20)
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        pipe.grow(self._write_fd, self.pipe_bytes)
        self._trash = memoryview(bytearray(BATCH_BYTES))

    def look(self, fd: int, limit: int) -> bytes:
        """A copy of what lies in the pipe `fd`, at most `limit` bytes; nothing when it is empty."""
        try:
            count = pipe.tee(fd, self._write_fd, limit)
        except BlockingIOError:
            return b""
        return os.read(self._read_fd, count) if count else b""

    def take(self, fd: int, count: int) -> None:
        """Remove the first `count` bytes from the pipe; the last one marks the journal."""
        os.readv(fd, [self._trash[: count - 1], self.journal.marker])

    def close(self) -> None:
        self.journal.close()
        os.close(self._read_fd)
        os.close(self._write_fd)


class Source(NamedTuple):
    """Whose stream it is, and where its output goes."""

    container_id: str
    directory: str
    log: LogFile
    audience: Audience


class Stream:
    """The reading end of one FIFO, stdout or stderr; never blocking."""

    __slots__ = ("_behind", "_channel", "_grown", "_scratch", "_seen", "_source", "fd", "name")

    def __init__(self, fd: int, name: str, source: Source, scratch: Scratch) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.name = name
        self._channel = CHANNELS[name]
        self._source = source
        self._scratch = scratch
        self._seen = 0  # bytes still in the FIFO that everyone attached has got already
        self._behind = False  # whole lines were left for the next batch
        self._grown = False

    def pump(self) -> bool:
        """Move one batch; whether there may be more already."""
        limit = self._limit()
        data = self._scratch.look(self.fd, limit)
        if len(data) <= self._seen and not self._behind:
            return False
        self._publish(data)
        if not self._source.log.is_open:
            self._commit(data, len(data), ())
            return len(data) >= limit
        portion = self._choose_portion(data)
        self._behind = len(portion) < len(data)
        parts, used = format_lines(self.name, portion, time.time_ns())
        if used:
            self._commit(data, used, parts)
        elif not pipe.takes_more(f"{self._source.directory}/{self.name}"):
            self._commit(data, len(data), [format_rest(self.name, data, time.time_ns(), partial=True)])
        if len(data) >= _CHATTY_BYTES and not self._grown:
            pipe.grow(self.fd, self._scratch.pipe_bytes)
            self._grown = True
        return len(data) >= limit or self._behind

    def _limit(self) -> int:
        size = self._source.log.limit.max_size_bytes
        return min(BATCH_BYTES, max(size, 2 * LINE_MAX_BYTES)) if size else BATCH_BYTES

    def _choose_portion(self, data: bytes) -> bytes:
        """All, or so many whole lines that a log of limited size is not overshot by more than it is long.

        Short lines are mostly prefix in the log: 64 KiB of them may become a megabyte.
        """
        size = self._source.log.limit.max_size_bytes
        text_bytes = len(data) + data.count(b"\n") * PREFIX_MAX_BYTES
        if not size or text_bytes <= size:
            return data
        end = data.rfind(b"\n", 0, max(1, len(data) * size // text_bytes)) + 1
        return data[: end or data.find(b"\n") + 1] or data

    def _rounds(self) -> int:
        """So many portions hold all that can be in the FIFO."""
        size = self._source.log.limit.max_size_bytes
        least = min(2 * LINE_MAX_BYTES, size // (1 + PREFIX_MAX_BYTES)) if size else 2 * LINE_MAX_BYTES
        return 2 + self._scratch.pipe_bytes // max(1, least)

    def _publish(self, data: bytes) -> None:
        if len(data) > self._seen:
            self._source.audience.publish(self._channel, data[self._seen :], self._seen)
            self._seen = len(data)

    def _commit(self, data: bytes, used: int, parts: Sequence[bytes | memoryview]) -> None:
        log, journal, audience = self._source.log, self._scratch.journal, self._source.audience
        inode, offset = log.position() if log.is_open else (0, 0)
        size = sum(map(len, parts))
        tally = audience.count_taken(self._channel, used)
        batch = Batch(self._source.container_id, self._channel, used, inode, offset, size, tally)
        journal.begin(batch, data[used - 1])
        if log.is_open:
            log.append(parts, size, offset)
        self._scratch.take(self.fd, used)
        audience.note_taken(self._channel, tally)
        journal.end()
        if log.is_open:
            log.rotate()
        self._seen -= used

    def has_ended(self) -> bool:
        """Nobody can write any more; what is left of a line is still there."""
        return not pipe.has_writer(self.fd)

    def finish(self) -> None:
        """All that is there now, the last line's beginning included; what comes after is lost."""
        rounds = self._rounds()
        while rounds and self.pump():
            rounds -= 1
        rest = self._scratch.look(self.fd, LINE_MAX_BYTES)
        if rest and b"\n" not in rest:
            self._publish(rest)
            self._commit(rest, len(rest), [format_rest(self.name, rest, time.time_ns(), partial=False)])

    def settle(self, batch: Batch) -> None:
        """Finish what a supervisor was killed in: bytes that the log has already leave the FIFO."""
        log = self._source.log
        if not batch.taken:
            if not batch.inode or not settle(log.path, batch.inode, batch.offset, batch.text_bytes):
                return
            self._scratch.take(self.fd, batch.raw_bytes)
        self._source.audience.note_taken(batch.channel, batch.tally)

    def close(self) -> None:
        os.close(self.fd)
        self.fd = -1


class Terminal:
    """The master of a container's terminal; its output goes through the FIFO of stdout like any other.

    splice(2) moves it, so nothing is lost when the supervisor is killed in between.
    """

    __slots__ = ("_fifo", "fd")

    def __init__(self, fd: int, fifo: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._fifo = fifo

    def pump(self) -> bool:
        """Move what is there into the FIFO; whether there may be more already.

        A terminal that nobody has open (EIO) stays: somebody may open it again.
        """
        try:
            return self._move() > 0
        except OSError:
            return False

    def _move(self) -> int:
        try:
            return os.splice(self.fd, self._fifo, _TERMINAL_BYTES, flags=pipe.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno != _EINVAL:
                raise
        return os.write(self._fifo, os.read(self.fd, _TERMINAL_BYTES))  # kernels without splice on terminals

    def finish(self, stream: Stream) -> None:
        """All that is there now, at most what a terminal can hold."""
        rounds = 4
        while rounds and self.pump():
            stream.pump()
            rounds -= 1

    def close(self) -> None:
        os.close(self.fd)
