"""Paths inside a rootfs, always by descriptor and never out of it (openat2(2))."""

import os
import stat

from rundlet.kernel.openat2 import open_in_root


def open_path(root_fd: int, path: str) -> int:
    """An O_PATH descriptor of `path` under the root; FileNotFoundError when nothing is there."""
    return open_in_root(root_fd, path, os.O_PATH)


def open_directory(root_fd: int, path: str) -> int:
    """As `open_path`, for a directory that is made, with its parents, when missing."""
    try:
        return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        parent_fd = open_directory(root_fd, os.path.dirname(path))
    try:
        os.mkdir(os.path.basename(path), 0o755, dir_fd=parent_fd)
    except FileExistsError:
        pass  # a dangling symlink: opening it below says so
    finally:
        os.close(parent_fd)
    return open_in_root(root_fd, path, os.O_PATH | os.O_DIRECTORY)


def open_parent(root_fd: int, path: str) -> tuple[int, str]:
    """The directory that holds `path` (made when missing) and the last name."""
    path = os.path.normpath(path)
    return open_directory(root_fd, os.path.dirname(path)), os.path.basename(path)


def open_mountpoint(root_fd: int, path: str, *, directory: bool) -> int:
    """A place to mount on: what is there, or else a new directory or empty file."""
    path = os.path.normpath(path)
    try:
        return open_path(root_fd, path)
    except FileNotFoundError:
        if directory:
            return open_directory(root_fd, path)
    parent_fd, name = open_parent(root_fd, path)
    try:
        os.close(
            os.open(
                name,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o644,
                dir_fd=parent_fd,
            )
        )
    finally:
        os.close(parent_fd)
    return open_path(root_fd, path)


def is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)
