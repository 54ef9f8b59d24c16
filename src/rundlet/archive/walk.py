"""Walk a directory tree by descriptors: in a fixed order, at any width, never out of it."""

import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.kernel.openat2 import open_in_root

_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_HOST_XATTRS: Final = ("security.selinux", "security.ima", "security.evm")


class Found(NamedTuple):
    """One path (b"" for the root, else relative).  `dir_fd` and `name` are good until the next one is asked for."""

    path: bytes
    status: os.stat_result
    dir_fd: int
    name: bytes

    @property
    def where(self) -> bytes:
        """A path for system calls that take no descriptor."""
        return b"/proc/self/fd/%d/%s" % (self.dir_fd, self.name)

    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


def walk_tree(root: str) -> Iterator[Found]:
    """All of the tree at `root`: the root first, a directory's entries together, by the bytes of their names.

    A `root` that is no directory is all there is.
    Raises OSError, and InvalidArgument for a tree that is nested too deep to be walked.
    """
    try:
        root_fd = os.open(root, _OPEN_DIRECTORY)
    except NotADirectoryError:
        yield from _walk_one(root)
        return
    try:
        yield Found(b"", os.fstat(root_fd), root_fd, b".")
        pending = [b""]
        while pending:
            directories: list[bytes] = []
            for found in _walk_directory(root_fd, pending.pop()):
                if found.is_directory():
                    directories.append(found.path)
                yield found
            pending += reversed(directories)
    finally:
        os.close(root_fd)


def _walk_one(path: str) -> Iterator[Found]:
    head, name = os.path.split(os.fsencode(path))
    fd = os.open(head or b".", _OPEN_DIRECTORY)
    try:
        yield Found(b"", os.lstat(name, dir_fd=fd), fd, name)
    finally:
        os.close(fd)


def open_file(found: Found) -> int:
    """A descriptor for reading; the caller closes it."""
    return os.open(found.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=found.dir_fd)


def read_xattrs(found: Found) -> list[tuple[str, bytes]]:
    """Extended attributes by name, but for labels that the host gives to files."""
    where = found.where
    return [
        (key, os.getxattr(where, key, follow_symlinks=False))
        for key in sorted(os.listxattr(where, follow_symlinks=False))
        if key not in _HOST_XATTRS
    ]


def _walk_directory(root_fd: int, path: bytes) -> Iterator[Found]:
    try:
        fd = open_in_root(root_fd, path or b".", _OPEN_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise InvalidArgument(f"directory {os.fsdecode(path[:80])!r}… is nested too deep") from error
    try:
        with os.scandir(fd) as entries:
            statuses = {os.fsencode(each.name): each.stat(follow_symlinks=False) for each in entries}
        prefix = path + b"/" if path else b""
        for name in sorted(statuses):
            yield Found(prefix + name, statuses[name], fd, name)
    finally:
        os.close(fd)
