"""openat2(2): open a path that cannot leave the directory it starts from (Linux 5.6).

Constants are spelled as in <linux/openat2.h>.
"""

import ctypes
import os

from rundlet.kernel.libc import syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_SYS_OPENAT2 = 437  # the same on every architecture


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


_SIZE = ctypes.c_size_t(ctypes.sizeof(_OpenHow))


def open_in_root(
    dir_fd: int,
    path: bytes | str,
    flags: int,
    mode: int = 0,
    resolve: int = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
) -> int:
    """A close-on-exec descriptor of `path`, resolved as if `dir_fd` were the root directory.

    Absolute symbolic links and ".." stay inside.  The kernel gives up with EAGAIN
    when a rename elsewhere races with "..", so that is tried again.
    Raises OSError naming `path`.
    """
    raw = os.fsencode(path)
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        try:
            return syscall(
                _SYS_OPENAT2, "openat2", dir_fd, raw, ctypes.byref(how), _SIZE, path=os.fsdecode(raw)
            )
        except (BlockingIOError, InterruptedError):
            continue
