"""A directory tree that is being filled: every path is resolved inside its root.

What a layer names is hostile.  A parent is opened by openat2(RESOLVE_IN_ROOT), so no
symbolic link that the layer brought, absolute or not, leads out; the last component is
then used relative to that descriptor and never followed.  Parents are kept open, since
entries come directory by directory.

Overlay's own marks (kernel, Documentation/filesystems/overlayfs.rst):

    whiteout           character device 0:0 in place of the hidden name
    opaque directory   xattr trusted.overlay.opaque=y: nothing below shows through
                       (user.overlay.opaque in a user namespace, `rundlet.kernel.overlay`)
"""

import errno
import os
import secrets
import stat
from typing import Final, Self

from rundlet.archive.tar import clean_path
from rundlet.errors import InvalidArgument
from rundlet.kernel.openat2 import open_in_root
from rundlet.kernel.overlay import opaque_xattr

_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_PARENTS_MAX: Final = 64
_ROOT_MODE: Final = 0o755
_REMOVE_DEPTH_MAX: Final = 64
_SYMLINKS_MAX: Final = 40  # as the kernel's MAXSYMLINKS


class Tree:
    """`implied` are directories that were needed before (or without) an entry of their own.

    Use as a context manager: it closes what it holds open.
    """

    def __init__(self, root: str | bytes) -> None:
        self._root_fd = os.open(root, _OPEN_DIRECTORY)
        self._parents: dict[bytes, int] = {}
        self.implied: set[bytes] = {b""}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.forget_parents()
        os.close(self._root_fd)

    def forget_parents(self) -> None:
        """Close all parents: after a removal a path may lead elsewhere."""
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """(descriptor of the directory that holds `path`, last component); parents are made when missing."""
        head, _, name = path.rpartition(b"/")
        fd = self._parents.get(head)
        if fd is None:
            fd = self._open_parent(head)
        return fd, name

    def open_directory(self, path: bytes) -> int:
        """A new descriptor of the directory `path`, made when missing; the caller closes it."""
        if not path:
            return os.open(b".", _OPEN_DIRECTORY, dir_fd=self._root_fd)
        try:
            return open_in_root(self._root_fd, path, _OPEN_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            self._make_directories(path, _SYMLINKS_MAX)
            return open_in_root(self._root_fd, path, _OPEN_DIRECTORY)

    def _open_parent(self, head: bytes) -> int:
        if len(self._parents) >= _OPEN_PARENTS_MAX:
            self.forget_parents()
        fd = self.open_directory(head)
        self._parents[head] = fd
        return fd

    def _make_directories(self, path: bytes, symlinks_left: int) -> None:
        """mkdir -p of `path`, through symbolic links as seen from the root."""
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            self._make_directory(b"/".join(parts[:depth]), symlinks_left)

    def _make_directory(self, path: bytes, symlinks_left: int) -> None:
        """The parents of `path` are there; itself may be missing, a whiteout or a dangling link."""
        try:
            os.close(open_in_root(self._root_fd, path, os.O_PATH | os.O_DIRECTORY))
            return
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            self._open_whiteout(path)
            return
        head, _, name = path.rpartition(b"/")
        with_parent = self.open_directory(head)
        try:
            os.mkdir(name, 0o755, dir_fd=with_parent)
            self.implied.add(path)
        except FileExistsError:  # a link to something that is not there (yet)
            link = os.readlink(name, dir_fd=with_parent)
            if not symlinks_left:
                raise InvalidArgument(f"{_show(path)}: too many symbolic links") from None
            target = clean_path(link if link.startswith(b"/") else head + b"/" + link)
            self._make_directories(target, symlinks_left - 1)
        finally:
            os.close(with_parent)

    def _open_whiteout(self, path: bytes) -> None:
        """Something below a whiteout comes: hidden things stay hidden, so the directory is opaque."""
        parent_fd, name = self.parent(path)
        if not self.is_whiteout(parent_fd, name):
            raise InvalidArgument(f"{_show(path)} is not a directory, but the layer puts files in it")
        os.unlink(name, dir_fd=parent_fd)
        os.mkdir(name, 0o755, dir_fd=parent_fd)
        self.implied.add(path)
        self.mark_opaque(path)

    def is_whiteout(self, parent_fd: int, name: bytes) -> bool:
        status = os.lstat(name, dir_fd=parent_fd)
        return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0

    def mark_opaque(self, path: bytes) -> None:
        """Hide everything that lower layers have in the directory `path`."""
        fd = self.open_directory(path)
        try:
            os.setxattr(fd, opaque_xattr(), b"y")
        finally:
            os.close(fd)

    def remove(self, parent_fd: int, name: bytes, path: bytes) -> None:
        """Remove `name` and all below it, whatever it is; `path` is its path."""
        if stat.S_ISDIR(os.lstat(name, dir_fd=parent_fd).st_mode):
            remove_tree(name, parent_fd)
            below = path + b"/"
            self.implied = {each for each in self.implied if each != path and not each.startswith(below)}
        else:
            os.unlink(name, dir_fd=parent_fd)
        self.forget_parents()


def make_root(path: str) -> None:
    """An empty directory that will be seen as a container's "/": 0755 whatever the umask is."""
    os.mkdir(path)
    os.chmod(path, _ROOT_MODE)


def remove_tree(name: bytes | str, dir_fd: int | None = None) -> None:
    """Remove the directory `name` with all that it holds; links in it are not followed.

    Something that another process removes meanwhile is no error, nor is any depth.
    """
    while True:
        try:
            fd = os.open(name, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
        except FileNotFoundError:
            return
        try:
            _empty_directory(fd, fd, 0)
        finally:
            os.close(fd)
        try:
            os.rmdir(name, dir_fd=dir_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:  # deep directories were brought up here
                raise


def _empty_directory(fd: int, top_fd: int, depth: int) -> None:
    """Remove what the directory `fd` holds; below some depth, move it up to `top_fd` instead.

    A layer may nest directories deeper than Python recurses and than a process may open files.
    """
    with os.scandir(fd) as entries:
        children = list(entries)
    for entry in children:
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=fd)
            elif depth >= _REMOVE_DEPTH_MAX:
                os.rename(entry.name, secrets.token_hex(16), src_dir_fd=fd, dst_dir_fd=top_fd)
            else:
                _remove_directory(entry.name, fd, top_fd, depth + 1)
        except FileNotFoundError:
            pass


def _remove_directory(name: str, dir_fd: int, top_fd: int, depth: int) -> None:
    fd = os.open(name, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        _empty_directory(fd, top_fd, depth)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=dir_fd)


def _show(path: bytes) -> str:
    return repr(os.fsdecode(path))
