"""Looking at one file of a container's root before it is mounted, through its stacked layers.

The layers are hostile.  Every component is opened without following links; a link is
followed by starting again from the top of the stack with its target, so no path ever
leaves the layers.  Whiteouts (0:0 character devices) and opaque directories hide what
lies below, as overlayfs has it (Documentation/filesystems/overlayfs.rst).
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import TypeVar

from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.kernel.overlay import opaque_xattr

_MAX_LINKS = 16
_MAX_FILE_BYTES = 8 << 20

T = TypeVar("T")


class _Hidden(Exception):
    """A whiteout or an opaque directory: the layers below do not count."""


class _Link(Exception):
    """A symbolic link was met; the merged view has to be walked again from its target."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def read_file(layers: Sequence[str], path: str) -> bytes:
    """The bytes of `path` in the merged view of `layers` (directories, top first); b"" when absent.

    Raises InvalidArgument for a file over 8 MiB or a chain of over 16 links.
    """
    return _find(layers, path, _read_regular) or b""


def find_directory(layers: Sequence[str], path: str) -> os.stat_result | None:
    """The owner and mode of the directory `path` in the merged view; None when there is no directory.

    Raises InvalidArgument for a chain of over 16 links.
    """
    found = _find(layers, path, lambda fd, _: os.fstat(fd))
    return found if found and stat.S_ISDIR(found.st_mode) else None


def _find(layers: Sequence[str], path: str, take: Callable[[int, str], T]) -> T | None:
    """What `take` makes of the O_PATH descriptor and the path of what is found."""
    for _ in range(_MAX_LINKS):
        try:
            with translating(f"read {path} of the image"):
                return _find_merged(layers, path, take)
        except _Link as link:
            path = link.path
    raise InvalidArgument(f"cannot read {path} of the image: too many symbolic links")


def _find_merged(layers: Sequence[str], path: str, take: Callable[[int, str], T]) -> T | None:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for layer in layers:
        try:
            found = _find_in_layer(layer, parts, take)
        except _Hidden:
            return None
        if found is not None:
            return found
    return None


def _find_in_layer(layer: str, parts: Sequence[str], take: Callable[[int, str], T]) -> T | None:
    directory = os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opaque = False
    try:
        for depth, name in enumerate(parts):
            child = _open_child(directory, name)
            if child is None:
                break
            os.close(directory)
            directory = child
            kind = os.fstat(child)
            if stat.S_ISLNK(kind.st_mode):
                raise _Link(_link_target(child, parts, depth))
            if stat.S_ISCHR(kind.st_mode) and kind.st_rdev == 0:
                raise _Hidden
            if depth == len(parts) - 1:
                return take(child, "/".join(parts))
            opaque = opaque or _is_opaque(child)
    finally:
        os.close(directory)
    if opaque:
        raise _Hidden
    return None


def _open_child(directory: int, name: str) -> int | None:
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _link_target(link: int, parts: Sequence[str], depth: int) -> str:
    """Where the link at `parts[depth]` leads, `..` folded so that it stops at the root."""
    target = os.readlink("", dir_fd=link)
    base = "/" if target.startswith("/") else "/" + "/".join(parts[:depth])
    rest = "/".join(parts[depth + 1 :])
    return os.path.normpath(f"/{base}/{target}/{rest}")


def _is_opaque(directory: int) -> bool:
    # fgetxattr(2) refuses O_PATH descriptors; the magic link names the same inode.
    try:
        return os.getxattr(f"/proc/self/fd/{directory}", opaque_xattr()) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
            return False
        raise


def _read_regular(fd: int, path: str) -> bytes:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return b""
    with open(f"/proc/self/fd/{fd}", "rb") as file:
        raw = file.read(_MAX_FILE_BYTES + 1)
    if len(raw) > _MAX_FILE_BYTES:
        raise InvalidArgument(f"cannot read /{path} of the image: it is over {_MAX_FILE_BYTES} bytes")
    return raw
