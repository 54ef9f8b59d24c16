r"""A directory tree as text, so that a later reader can say what has changed in it.

One line for each path, the root first, directories before what they hold, names in byte order:

    .          type=dir mode=0755 uid=0 gid=0 time=1716402000.000000000
    ./etc      type=dir mode=0755 …  xattr.trusted.overlay.opaque=eQ==
    ./etc/motd type=file mode=0644 …  size=5 crc32=3610a686
    ./etc/link type=link …  link=motd
    ./etc/null type=char …  device=1,3
    ./etc/same type=file …  same=./etc/motd        a further name of one file

Bytes that would break a line apart are written \ooo, as mtree(5) does.  `crc32` comes last:
without it a line says what can be told without reading the file, and a file with holes has none,
since reading it could take for ever.  CRC-32 runs at 18 GB/s, ten times as fast as SHA-256: it is
there to notice a disk that forgets, what the registry sent is proved by the digest of the blob.
"""

import base64
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from isal import isal_zlib

from rundlet.errors import InvalidArgument
from rundlet.kernel.openat2 import open_in_root

_CHECKSUM: Final = b" crc32="
_UNSAFE: Final = re.compile(rb"[^!-\[\]-~]")  # all but printable ASCII without space and backslash
_KINDS: Final = {
    stat.S_IFREG: b"file",
    stat.S_IFDIR: b"dir",
    stat.S_IFLNK: b"link",
    stat.S_IFCHR: b"char",
    stat.S_IFBLK: b"block",
    stat.S_IFIFO: b"fifo",
    stat.S_IFSOCK: b"socket",
}
# Labels that the host gives to files: no part of the layer.
_HOST_XATTRS: Final = ("security.selinux", "security.ima", "security.evm")
_READ_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 512  # the unit of st_blocks
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

# (descriptor of the directory, name, status) → CRC-32, None for "not told"
Checksum = Callable[[int, bytes, os.stat_result], int | None]


def list_tree(root: str, checksum: Checksum) -> Iterator[bytes]:
    """The lines of the tree at `root`, without line ends.

    Raises OSError, and InvalidArgument for a tree that is nested too deep to be walked.
    """
    root_fd = os.open(root, _OPEN_DIRECTORY)
    seen: dict[int, bytes] = {}
    try:
        yield _describe(b".", os.fstat(root_fd), b"/proc/self/fd/%d/." % root_fd)
        pending = [b"."]
        while pending:
            directories: list[bytes] = []
            yield from _list_directory(root_fd, pending.pop(), checksum, seen, directories)
            pending += reversed(directories)
    finally:
        os.close(root_fd)


def read_checksum(dir_fd: int, name: bytes, status: os.stat_result) -> int | None:
    """The `Checksum` that reads the file; None for one with holes."""
    if status.st_blocks * _BLOCK_BYTES < status.st_size and _has_holes(dir_fd, name, status.st_size):
        return None
    value = 0
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd), "rb", 0) as file:
        while data := file.read(_READ_BYTES):
            value = isal_zlib.crc32(data, value)
    return value


def skip_checksum(_dir_fd: int, _name: bytes, _status: os.stat_result) -> None:
    """The `Checksum` of who looks at no content."""


def known_checksum(values: Mapping[int, int | None]) -> Checksum:
    """The `Checksum` of who wrote the files: `values` by inode; a file that is not among them is read."""

    def look_up(dir_fd: int, name: bytes, status: os.stat_result) -> int | None:
        if status.st_ino in values:
            return values[status.st_ino]
        return read_checksum(dir_fd, name, status)

    return look_up


def without_checksum(line: bytes) -> bytes:
    """What `line` says without its file having been read."""
    return line.partition(_CHECKSUM)[0]


def path_of(line: bytes) -> str:
    """The path that `line` is about, as it is written there."""
    return line.partition(b" ")[0].decode("ascii")


def _has_holes(dir_fd: int, name: bytes, size: int) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE) < size
    finally:
        os.close(fd)


def _list_directory(
    root_fd: int, path: bytes, checksum: Checksum, seen: dict[int, bytes], directories: list[bytes]
) -> Iterator[bytes]:
    """The lines of all in `path`; the directories among them go to `directories`."""
    try:
        fd = open_in_root(root_fd, path, _OPEN_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise InvalidArgument(f"directory {os.fsdecode(path[:80])!r}… is nested too deep") from error
    try:
        with os.scandir(fd) as entries:
            statuses = {os.fsencode(each.name): each.stat(follow_symlinks=False) for each in entries}
        for name in sorted(statuses):
            status, below = statuses[name], b"%s/%s" % (path, name)
            where = b"/proc/self/fd/%d/%s" % (fd, name)
            line = _describe(below, status, where)
            if stat.S_ISREG(status.st_mode):
                line += _describe_content(fd, name, status, checksum, seen, below)
            elif stat.S_ISDIR(status.st_mode):
                directories.append(below)
            yield line
    finally:
        os.close(fd)


def _describe(path: bytes, status: os.stat_result, where: bytes) -> bytes:
    """All that a line says but a file's content; `where` is a path for system calls without a dir_fd."""
    kind = stat.S_IFMT(status.st_mode)
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    line = b"%s type=%s mode=%04o uid=%d gid=%d time=%d.%09d" % (
        _escape(path), _KINDS[kind], status.st_mode & 0o7777, status.st_uid, status.st_gid, seconds, nanoseconds,
    )  # fmt: skip
    if kind == stat.S_IFLNK:
        line += b" link=" + _escape(os.readlink(where))
    elif kind in {stat.S_IFCHR, stat.S_IFBLK}:
        line += b" device=%d,%d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    for key in sorted(os.listxattr(where, follow_symlinks=False)):
        if key not in _HOST_XATTRS:
            value = base64.b64encode(os.getxattr(where, key, follow_symlinks=False))
            line += b" xattr.%s=%s" % (_escape(os.fsencode(key)), value)
    return line


def _describe_content(
    fd: int, name: bytes, status: os.stat_result, checksum: Checksum, seen: dict[int, bytes], path: bytes
) -> bytes:
    if status.st_nlink > 1:
        first = seen.setdefault(status.st_ino, path)
        if first is not path:
            return b" same=" + _escape(first)
    value = checksum(fd, name, status)
    return b" size=%d" % status.st_size + (b"" if value is None else b"%s%08x" % (_CHECKSUM, value))


def _escape(text: bytes) -> bytes:
    return _UNSAFE.sub(lambda found: b"\\%03o" % found[0][0], text)
