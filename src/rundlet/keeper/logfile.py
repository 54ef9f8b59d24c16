"""A container's output: from its FIFOs, or its terminal, to its log file."""

import os
import time

from rundlet.keeper.attach import CHANNELS, Audience
from rundlet.plan.log import LineFormatter

_READ_BYTES = 1 << 16
_MODE = 0o640


class LogFile:
    """The file that one container's streams are written to; nothing is written while `path` is empty."""

    __slots__ = ("_fd", "path")

    def __init__(self) -> None:
        self.path = ""
        self._fd = -1

    def open(self, path: str) -> None:
        """Write to `path` from now on; OSError when it cannot be made."""
        self.path = path
        self.reopen()

    def reopen(self) -> None:
        """Open `path` anew, made when missing; the old file gets no further byte (log rotation)."""
        if not self.path:
            return
        os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
        fresh = os.open(
            self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE
        )
        self.close()
        self._fd = fresh

    def write(self, text: bytes) -> None:
        """All of it; a full disk loses the text and not the container."""
        while text and self._fd >= 0:
            try:
                text = text[os.write(self._fd, text) :]
            except OSError:
                return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Stream:
    """The reading end of stdout, stderr or a terminal, never blocking."""

    __slots__ = ("_audience", "_channel", "_formatter", "_log", "fd")

    def __init__(self, fd: int, name: str, log: LogFile, audience: Audience) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._formatter = LineFormatter(name)
        self._log = log
        self._audience = audience
        self._channel = CHANNELS[name]

    def pump(self) -> bool:
        """Move one chunk to the log; False when the stream has ended."""
        try:
            chunk = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            chunk = b""  # EIO: the last slave of the terminal is closed (pty(7))
        self._take(chunk)
        return bool(chunk)

    def _take(self, chunk: bytes) -> None:
        if chunk:
            self._log.write(self._formatter.feed(chunk, time.time_ns()))
            self._audience.publish(self._channel, chunk)

    def drain(self) -> None:
        """Everything that is there now: called when the process has ended, before that is told."""
        while True:
            try:
                chunk = os.read(self.fd, _READ_BYTES)
            except OSError:
                return
            if not chunk:
                return
            self._take(chunk)

    def close(self) -> None:
        if self.fd >= 0:
            self._log.write(self._formatter.close(time.time_ns()))
            os.close(self.fd)
            self.fd = -1
