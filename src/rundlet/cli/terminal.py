"""This program's own terminal: raw keys, its size, and the keys that leave a session."""

import fcntl
import os
import struct
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from rundlet.errors import InvalidArgument

DETACH_KEYS = b"\x10\x11"  # ctrl-p ctrl-q, as podman, docker and crictl have them
STDIN_FD = 0


class DetachScanner:
    """Passes typed bytes on until the detach keys come; no keys, no leaving."""

    def __init__(self, keys: bytes = DETACH_KEYS) -> None:
        self._keys = keys
        self._held = b""
        self.is_detached = False

    def scan(self, data: bytes) -> bytes:
        """What is to be sent; what may be the keys' beginning waits for what follows it."""
        if not self._keys:
            return data
        data = self._held + data
        self._held = b""
        if self._keys in data:
            self.is_detached = True
            return data.partition(self._keys)[0]
        for length in range(min(len(self._keys) - 1, len(data)), 0, -1):
            if data.endswith(self._keys[:length]):
                self._held = self._keys[:length]
                return data[:-length]
        return data


def parse_keys(text: str) -> bytes:
    """Bytes of "ctrl-p,ctrl-q" or "a"; "" for none.

    Raises InvalidArgument.
    """
    return b"".join(_parse_key(word) for word in text.split(",")) if text else b""


def _parse_key(word: str) -> bytes:
    letter = word.removeprefix("ctrl-")
    if len(letter) != 1 or not letter.isascii():
        raise InvalidArgument(
            f"--detach-keys: not a key: {word!r}", hint="write them as ctrl-p,ctrl-q or as a letter"
        )
    return bytes((ord(letter.upper()) & 0x1F,)) if word.startswith("ctrl-") else letter.encode()


def read_size() -> tuple[int, int]:
    """Columns and rows."""
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(STDIN_FD, termios.TIOCGWINSZ, b"\0" * 8))
    return columns, rows


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Every key goes to the other side, ctrl-c too."""
    before = termios.tcgetattr(STDIN_FD)
    try:
        tty.setraw(STDIN_FD, termios.TCSANOW)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(STDIN_FD, termios.TCSADRAIN, before)


def check_terminal() -> None:
    """Raises InvalidArgument unless stdin is a terminal."""
    if not os.isatty(STDIN_FD):
        raise InvalidArgument("--tty: stdin is not a terminal", hint="leave --tty out in a pipe or script")
