"""madvise(2): what the kernel may know of this process's memory in advance."""

import ctypes
import os

from rundlet.kernel.libc import LIBC

_MADV_POPULATE_WRITE = 23

_madvise = LIBC.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def own_memory() -> None:
    """Copy all private memory that is still shared with the process this one was forked from.

    It is copied anyway, page by page, as soon as it is touched, with a fault for each.
    Nothing happens before Linux 5.14.
    """
    fd = os.open("/proc/self/maps", os.O_RDONLY | os.O_CLOEXEC)
    try:
        maps = os.read(fd, 1 << 20)
        while more := os.read(fd, 1 << 20):
            maps += more
    finally:
        os.close(fd)
    for line in maps.splitlines():
        span, mode, *_ = line.split(None, 2)
        if mode == b"rw-p":
            first, end = (int(word, 16) for word in span.split(b"-"))
            _madvise(first, end - first, _MADV_POPULATE_WRITE)
