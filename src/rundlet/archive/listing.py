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

from isal.isal_zlib import crc32

from rundlet.archive.walk import Found, open_file, read_xattrs, walk_tree

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
_READ_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 512  # the unit of st_blocks

# CRC-32 of a file, None for "not told"
Checksum = Callable[[Found], int | None]


def list_tree(root: str, checksum: Checksum) -> Iterator[bytes]:
    """The lines of the tree at `root`, without line ends.  Raises as `walk_tree`."""
    seen: dict[int, bytes] = {}
    for found in walk_tree(root):
        path = b"./" + found.path if found.path else b"."
        line = _describe(path, found)
        if stat.S_ISREG(found.status.st_mode):
            line += _describe_content(path, found, checksum, seen)
        yield line


def read_checksum(found: Found) -> int | None:
    """The `Checksum` that reads the file; None for one with holes."""
    value = 0
    with open(open_file(found), "rb", 0) as file:
        if _has_holes(file.fileno(), found.status):
            return None
        while data := file.read(_READ_BYTES):
            value = crc32(data, value)
    return value


def skip_checksum(_: Found) -> None:
    """The `Checksum` of who looks at no content."""


def known_checksum(values: Mapping[int, int | None]) -> Checksum:
    """The `Checksum` of who wrote the files: `values` by inode; a file that is not among them is read."""

    def look_up(found: Found) -> int | None:
        inode = found.status.st_ino
        return values[inode] if inode in values else read_checksum(found)

    return look_up


def without_checksum(line: bytes) -> bytes:
    """What `line` says without its file having been read."""
    return line.partition(_CHECKSUM)[0]


def path_of(line: bytes) -> str:
    """The path that `line` is about, as it is written there."""
    return line.partition(b" ")[0].decode("ascii")


def _has_holes(fd: int, status: os.stat_result) -> bool:
    if status.st_blocks * _BLOCK_BYTES >= status.st_size:
        return False
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE) < status.st_size
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


def _describe(path: bytes, found: Found) -> bytes:
    """All that a line says but a file's content."""
    status = found.status
    kind = stat.S_IFMT(status.st_mode)
    seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
    line = b"%s type=%s mode=%04o uid=%d gid=%d time=%d.%09d" % (
        _escape(path), _KINDS[kind], status.st_mode & 0o7777, status.st_uid, status.st_gid, seconds, nanoseconds,
    )  # fmt: skip
    if kind == stat.S_IFLNK:
        line += b" link=" + _escape(os.readlink(found.where))
    elif kind in {stat.S_IFCHR, stat.S_IFBLK}:
        line += b" device=%d,%d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    for key, value in read_xattrs(found):
        line += b" xattr.%s=%s" % (_escape(os.fsencode(key)), base64.b64encode(value))
    return line


def _describe_content(path: bytes, found: Found, checksum: Checksum, seen: dict[int, bytes]) -> bytes:
    if found.status.st_nlink > 1:
        first = seen.setdefault(found.status.st_ino, path)
        if first is not path:
            return b" same=" + _escape(first)
    value = checksum(found)
    return b" size=%d" % found.status.st_size + (b"" if value is None else b"%s%08x" % (_CHECKSUM, value))


def _escape(text: bytes) -> bytes:
    return _UNSAFE.sub(lambda found: b"\\%03o" % found[0][0], text)
