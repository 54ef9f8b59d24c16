"""pipe(7): tee(2), fcntl(2) F_SETPIPE_SZ, and what poll(2) tells of a pipe's two ends."""

import ctypes
import fcntl
import os
import select

from rundlet.kernel.libc import LIBC, os_error

SPLICE_F_NONBLOCK = 2

_tee = LIBC.tee
_tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
_tee.restype = ctypes.c_ssize_t
_MAX_SIZE_FILE = "/proc/sys/fs/pipe-max-size"


def tee(source: int, target: int, size: int) -> int:
    """tee(2), never blocking: how many bytes of `source` are now in `target` too, and still in `source`.

    0 when `source` is empty and has no writer; BlockingIOError when it is only empty.
    """
    count: int = _tee(source, target, size, SPLICE_F_NONBLOCK)
    if count < 0:
        raise os_error("tee")
    return count


def max_size() -> int:
    """The largest pipe that a process may ask for, in bytes."""
    with open(_MAX_SIZE_FILE, encoding="ascii") as file:
        return int(file.read())


def grow(fd: int, size: int) -> None:
    """F_SETPIPE_SZ; the pipe stays as it is where the user's pages are used up (pipe(7))."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
    except OSError:
        pass


def has_writer(read_fd: int) -> bool:
    """Whether anybody has the other end open."""
    poll = select.poll()
    poll.register(read_fd, 0)
    return not poll.poll(0)


def takes_more(path: str) -> bool:
    """Whether a write to the FIFO at `path` would not block; its pages may be used up long before its bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        return bool(poll.poll(0))
    finally:
        os.close(fd)
