"""inotify(7): be told when files of a directory change."""

import ctypes
import os

from rundlet.kernel.libc import LIBC, encode, os_error

IN_MODIFY = 0x2
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_CLOEXEC = os.O_CLOEXEC
IN_NONBLOCK = os.O_NONBLOCK

_init = LIBC.inotify_init1
_init.argtypes = (ctypes.c_int,)
_add = LIBC.inotify_add_watch
_add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


def watch_directory(path: str, mask: int) -> int:
    """A non-blocking descriptor that is readable when something of `mask` happens in the directory; OSError."""
    fd: int = _init(IN_CLOEXEC | IN_NONBLOCK)
    if fd < 0:
        raise os_error("inotify_init1")
    if _add(fd, encode(path), mask) < 0:
        error = os_error("inotify_add_watch", path)
        os.close(fd)
        raise error
    return fd
