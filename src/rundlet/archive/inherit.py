"""Directories that a layer uses but does not describe look as they do in the layers below."""

import errno
import os
from collections.abc import Sequence
from typing import Final

from rundlet.kernel.openat2 import open_in_root
from rundlet.kernel.overlay import opaque_xattr

_OPEN_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY


def copy_implied(target_dir: str, lower_dirs: Sequence[str], implied: Sequence[bytes]) -> None:
    """Give the `implied` directories of `target_dir` owner, mode, times and xattrs of the uppermost
    directory with that path in `lower_dirs` (top first).

    Those that no lower layer has stay as they are: root's, 0755.  Raises OSError.
    """
    if not lower_dirs:
        return
    # deepest first: to touch a child does not change its parent's times, but to be sure of order is cheap
    for path in sorted(implied, reverse=True):
        for lower_dir in lower_dirs:
            if _copy_directory(lower_dir, target_dir, path):
                break


def _copy_directory(lower_dir: str, target_dir: str, path: bytes) -> bool:
    source = _open_inside(lower_dir, path)
    if source < 0:
        return False
    try:
        target = _open_inside(target_dir, path)
        try:
            _copy_attributes(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)
    return True


def _open_inside(root: str, path: bytes) -> int:
    """A descriptor of the directory `path` in `root`; -1 when there is none."""
    root_fd = os.open(root, _OPEN_DIRECTORY)
    try:
        return open_in_root(root_fd, path or b".", _OPEN_DIRECTORY)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return -1
        raise
    finally:
        os.close(root_fd)


def _copy_attributes(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o7777)
    for key in os.listxattr(source):
        if key != opaque_xattr():
            os.setxattr(target, key, os.getxattr(source, key))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
