"""Paths inside a rootfs, always by descriptor and never out of it (openat2(2))."""

import errno
import os
import stat

from rundlet.kernel.openat2 import open_in_root

_LINKS_MAX = 40  # as many as the kernel follows


def open_path(root_fd: int, path: str) -> int:
    """An O_PATH descriptor of `path` under the root; FileNotFoundError when nothing is there."""
    return open_in_root(root_fd, path, os.O_PATH)


def open_directory(root_fd: int, path: str, links: int = 0) -> int:
    """As `open_path`, for a directory that is made, with its parents, when missing.

    A symbolic link to nowhere is followed inside the root and its target made:
    images have /var/run -> /run without a /run.
    """
    try:
        return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        parent, name = _split(path)
    parent_fd = open_directory(root_fd, parent, links)
    try:
        points_to = _read_link(parent_fd, name, links)
        if points_to:
            return open_directory(root_fd, os.path.join(parent, points_to), links + 1)
        os.mkdir(name, 0o755, dir_fd=parent_fd)
    except FileExistsError:
        pass  # ".." or made by somebody else meanwhile: opening it says what it is
    finally:
        os.close(parent_fd)
    return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)


def _split(path: str) -> tuple[str, str]:
    """Parent and last name; not normalized, since ".." after a link means the link's target's parent."""
    path = path.rstrip("/") or "/"
    return os.path.dirname(path) or "/", os.path.basename(path)


def _read_link(parent_fd: int, name: str, links: int) -> str:
    """Where a symbolic link points to; empty for anything else and for nothing."""
    try:
        points_to = os.readlink(name, dir_fd=parent_fd)
    except OSError:
        return ""
    if links >= _LINKS_MAX:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
    return points_to


def open_parent(root_fd: int, path: str) -> tuple[int, str]:
    """The directory that holds `path` (made when missing) and the last name."""
    parent, name = _split(path)
    return open_directory(root_fd, parent), name


def open_mountpoint(root_fd: int, path: str, *, directory: bool, links: int = 0) -> int:
    """A place to mount on: what is there, or else a new directory or empty file."""
    if directory:
        return open_directory(root_fd, path)
    try:
        return open_path(root_fd, path)
    except FileNotFoundError:
        parent_fd, name = open_parent(root_fd, path)
    try:
        points_to = _read_link(parent_fd, name, links)
        if points_to:
            target = os.path.join(_split(path)[0], points_to)
            return open_mountpoint(root_fd, target, directory=False, links=links + 1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644, dir_fd=parent_fd))
    finally:
        os.close(parent_fd)
    return open_path(root_fd, path)


def is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)
