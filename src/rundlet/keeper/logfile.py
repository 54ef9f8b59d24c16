"""A container's log file: lines are added whole or not at all; rotated from outside or by size."""

import os

_MODE = 0o640


class LogFile:
    """The file that one container's streams are written to; nothing is written while `path` is empty.

    With `max_size_bytes` it is rotated when it has grown to that: `path` becomes
    `path`.1, that `path`.2 and so on, `max_files` in all.
    """

    __slots__ = ("_fd", "_max_files", "max_size_bytes", "path")

    def __init__(self) -> None:
        self.path = ""
        self.max_size_bytes = 0
        self._max_files = 1
        self._fd = -1

    def open(self, path: str, max_size_bytes: int = 0, max_files: int = 1) -> None:
        """Write to `path` from now on; OSError when it cannot be made."""
        self.path = path
        self.max_size_bytes = max_size_bytes
        self._max_files = max(1, max_files)
        self.reopen()

    def settings(self) -> tuple[str, int, int]:
        """What `open` was given."""
        return self.path, self.max_size_bytes, self._max_files

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

    def append(self, text: bytes, offset: int) -> None:
        """All of `text`, at `offset`, which is the file's end; a full disk loses it, and leaves no half line."""
        rest = memoryview(text)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            os.ftruncate(self._fd, offset)

    def rotate(self) -> None:
        """When the file has grown to its limit; where renaming fails it goes on growing."""
        if not self.max_size_bytes or self.position()[1] < self.max_size_bytes:
            return
        try:
            if self._max_files == 1:
                os.ftruncate(self._fd, 0)
                return
            for number in range(self._max_files - 1, 0, -1):
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
