"""The C library, reached once: every module of this room calls through here.

`PyDLL` keeps Python's global lock during the call, which costs nothing for these
short calls, and is what makes `clone.py` sound: a child made by clone3(2) must
not come back waiting for a lock that another thread held.  Calls that may block
(waiting for a device, a slow unmount) use `BLOCKING` instead.
"""

import ctypes
import os

LIBC = ctypes.PyDLL(None, use_errno=True)
BLOCKING = ctypes.CDLL(None, use_errno=True)

_syscall = LIBC.syscall
_syscall.restype = ctypes.c_long

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100


def os_error(what: str, path: str | None = None) -> OSError:
    """OSError of the thread's errno; `what` names the call, `path` the object."""
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}", path)


def syscall(number: int, what: str, *args: object, path: str | None = None) -> int:
    """syscall(2): the result, or OSError that names the call and the object."""
    result: int = _syscall(ctypes.c_long(number), *args)
    if result < 0:
        raise os_error(what, path)
    return result


def encode(text: str | None) -> bytes | None:
    """A path as the kernel takes it; None stays a null pointer."""
    return None if text is None else os.fsencode(text)
