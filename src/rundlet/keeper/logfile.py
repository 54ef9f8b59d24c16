"""A container's log file: lines are added whole or not at all; rotated from outside or by size."""

import os
from collections.abc import Sequence

from rundlet.keeper.protocol import UNLIMITED, LogLimit

_MODE = 0o640


class LogFile:
    """The file that one container's streams are written to; nothing is written while `path` is empty.

    With a limit it is rotated when it has grown to that: `path` becomes `path`.1,
    that `path`.2 and so on.
    """

    __slots__ = ("_fd", "limit", "path")

    def __init__(self) -> None:
        self.path = ""
        self.limit = UNLIMITED
        self._fd = -1

    def open(self, path: str, limit: LogLimit = UNLIMITED) -> None:
        """Write to `path` from now on; OSError when it cannot be made."""
        self.path = path
        self.limit = limit
        self.reopen()

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

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

    def position(self) -> tuple[int, int]:
        """Inode and size, now."""
        found = os.fstat(self._fd)
        return found.st_ino, found.st_size

    def append(self, parts: Sequence[bytes | memoryview], size: int, offset: int) -> None:
        """All of `parts`, `size` bytes, at `offset`, which is the file's end.

        A full disk loses them, and leaves no half line.
        """
        try:
            if os.writev(self._fd, parts) == size:
                return
        except OSError:
            pass
        os.ftruncate(self._fd, offset)

    def rotate(self) -> None:
        """When the file has grown to its limit; where renaming fails it goes on growing."""
        max_size_bytes, max_files = self.limit
        if not max_size_bytes or self.position()[1] < max_size_bytes:
            return
        try:
            if max_files <= 1:
                os.ftruncate(self._fd, 0)
                return
            for number in range(max_files - 1, 0, -1):
                _rename(f"{self.path}.{number - 1}" if number > 1 else self.path, f"{self.path}.{number}")
            self.reopen()
        except OSError:
            return

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _rename(old: str, new: str) -> None:
    try:
        os.rename(old, new)
    except FileNotFoundError:
        pass


def settle(path: str, inode: int, offset: int, text_bytes: int) -> bool:
    """Whether a batch that was cut off is in the log whole; half of one is taken out again.

    The file may have been renamed meanwhile, within its directory (log rotation);
    when it is not to be found at all, it was complete.
    """
    found = _find_inode(path, inode)
    if found is None:
        return True
    size = os.stat(found).st_size
    if offset < size < offset + text_bytes:
        os.truncate(found, offset)
    return size >= offset + text_bytes


def _find_inode(path: str, inode: int) -> str | None:
    directory = os.path.dirname(path)
    try:
        with os.scandir(directory) as entries:
            found = (entry.path for entry in entries if entry.stat(follow_symlinks=False).st_ino == inode)
            return next(found, None)
    except FileNotFoundError:
        return None
