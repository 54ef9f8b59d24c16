"""A second tree like a layer's, whose files belong to the ids of a user namespace.

Where a file system cannot show a layer through a mapping (idmapped mounts), the layer is there once
more with other owners.  Two ways to hold the files' data:

    copy    the data too, shared with the original where the file system can (FICLONE)
    refer   no data: a hole as large as the file, with the xattr trusted.overlay.metacopy.  Stacked
            right above the original, overlayfs takes the data from there (metacopy=on, Linux 4.19).
            Whiteouts and opaque marks are left to the original, or they would hide it.

Ids that the mapping does not know stay as they are: inside they are nobody's either way.
"""

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from rundlet.archive.walk import Found, open_file, read_xattrs, walk_tree
from rundlet.kernel.openat2 import open_in_root
from rundlet.kernel.overlay import opaque_xattr
from rundlet.plan.steps import IdMap, map_id

METACOPY_XATTR: Final = "trusted.overlay.metacopy"
_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FICLONE: Final = 0x40049409  # <linux/fs.h>
_CHUNK_BYTES: Final = 1 << 24
# <linux/posix_acl_xattr.h>: a version, then entries of tag, permissions and id.
_ACLS: Final = frozenset(("system.posix_acl_access", "system.posix_acl_default"))
_ACL_HEADER: Final = struct.Struct("<I")
_ACL_ENTRY: Final = struct.Struct("<HHI")
_ACL_USER, _ACL_GROUP = 2, 8

Data = Literal["copy", "refer"]


class Shift(NamedTuple):
    """Whose files become whose: both maps as in a user namespace."""

    uids: IdMap
    gids: IdMap

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        return _shift(self.uids, uid), _shift(self.gids, gid)


def _shift(mapping: IdMap, number: int) -> int:
    outside = map_id(mapping, number)
    return number if outside < 0 else outside


def shift_tree(source: str, target: str, shift: Shift, data: Data) -> tuple[int, int]:
    """Fill the new directory `target` with what `source` holds; the bytes on disk and inodes that took.

    Raises OSError, and InvalidArgument for a tree that is nested too deep to be walked.
    """
    copier = _Copier(target, shift, refers=data == "refer")
    try:
        for found in walk_tree(source):
            copier.add(found)
        copier.finish()
    finally:
        copier.close()
    return copier.size_bytes, copier.inodes


class _Copier:
    """Paths that it writes to are its own: a directory of the target never is a link."""

    def __init__(self, target: str, shift: Shift, *, refers: bool) -> None:
        self._root_fd = os.open(target, _OPEN_DIRECTORY)
        self._parent: tuple[bytes, int] = (b"", os.dup(self._root_fd))
        self._shift = shift
        self._refers = refers
        self._links: dict[tuple[int, int], bytes] = {}
        self._times: list[tuple[bytes, int]] = []
        self.size_bytes = 0
        self.inodes = 0

    def close(self) -> None:
        os.close(self._parent[1])
        os.close(self._root_fd)

    def add(self, found: Found) -> None:
        status = found.status
        if self._refers and stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            return  # a whiteout
        parent, name = self._open_parent(found.path)
        if self._link(found, parent, name):
            return
        self._make(found, parent, name)
        self._dress(found, parent, name)
        made = os.lstat(name, dir_fd=parent)
        self.size_bytes += made.st_blocks * 512
        self.inodes += 1

    def finish(self) -> None:
        """Times of directories, which every entry made in them has changed."""
        for path, mtime_ns in self._times:
            parent, name = self._open_parent(path)
            os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent)

    def _open_parent(self, path: bytes) -> tuple[int, bytes]:
        """Entries of a directory come together: it is opened once."""
        head, _, name = path.rpartition(b"/")
        if head != self._parent[0]:
            fd = open_in_root(self._root_fd, head or b".", _OPEN_DIRECTORY)
            os.close(self._parent[1])
            self._parent = head, fd
        return self._parent[1], name or b"."

    def _link(self, found: Found, parent: int, name: bytes) -> bool:
        """True when the file is there by another name already, and now by this one too."""
        if found.status.st_nlink < 2 or found.is_directory():
            return False
        key = found.status.st_dev, found.status.st_ino
        first = self._links.setdefault(key, found.path)
        if first == found.path:
            return False
        head, _, old = first.rpartition(b"/")
        fd = open_in_root(self._root_fd, head or b".", _OPEN_DIRECTORY)
        try:
            os.link(old, name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(fd)
        return True

    def _make(self, found: Found, parent: int, name: bytes) -> None:
        mode = found.status.st_mode
        if stat.S_ISREG(mode):
            self._make_file(found, parent, name)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(found.name, dir_fd=found.dir_fd), name, dir_fd=parent)
        elif not stat.S_ISDIR(mode):
            os.mknod(name, mode, found.status.st_rdev, dir_fd=parent)
        elif found.path:
            os.mkdir(name, 0o700, dir_fd=parent)

    def _make_file(self, found: Found, parent: int, name: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        writing = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            if self._refers:
                os.ftruncate(writing, found.status.st_size)
            elif found.status.st_size:
                _copy_data(found, writing)
        finally:
            os.close(writing)

    def _dress(self, found: Found, parent: int, name: bytes) -> None:
        """Owner, mode, xattrs: in this order, as chown(2) takes setuid bits and capabilities away."""
        status = found.status
        owner = self._shift.owner(status.st_uid, status.st_gid)
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=parent)
        where = b"/proc/self/fd/%d/%s" % (parent, name)
        for key, value in self._list_xattrs(found):
            os.setxattr(where, key, value, follow_symlinks=False)
        times = (status.st_mtime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
        if found.is_directory():
            self._times.append((found.path, status.st_mtime_ns))

    def _list_xattrs(self, found: Found) -> Iterator[tuple[str, bytes]]:
        for key, value in read_xattrs(found):
            if key in _ACLS:
                yield key, _shift_acl(value, self._shift)
            elif not (self._refers and key == opaque_xattr()):
                yield key, value
        if self._refers and stat.S_ISREG(found.status.st_mode) and found.status.st_size:
            yield METACOPY_XATTR, b""


def _shift_acl(value: bytes, shift: Shift) -> bytes:
    """The same access list for the owners and groups that it means inside."""
    parts = [value[: _ACL_HEADER.size]]
    for tag, permissions, number in _ACL_ENTRY.iter_unpack(value[_ACL_HEADER.size :]):
        mapping = {_ACL_USER: shift.uids, _ACL_GROUP: shift.gids}.get(tag, ())
        parts.append(_ACL_ENTRY.pack(tag, permissions, _shift(mapping, number)))
    return b"".join(parts)


def _copy_data(found: Found, writing: int) -> None:
    reading = open_file(found)
    try:
        try:
            fcntl.ioctl(writing, _FICLONE, reading)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL):
                raise
            _copy_extents(reading, writing, found.status.st_size)
    finally:
        os.close(reading)


def _copy_extents(reading: int, writing: int, size_bytes: int) -> None:
    """What is data, hole by hole."""
    os.ftruncate(writing, size_bytes)
    end = 0
    while end < size_bytes:
        try:
            offset = os.lseek(reading, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole up to the end
                raise
            return
        end = os.lseek(reading, offset, os.SEEK_HOLE)
        os.lseek(writing, offset, os.SEEK_SET)
        while offset < end:
            offset += os.sendfile(writing, reading, offset, min(end - offset, _CHUNK_BYTES))
