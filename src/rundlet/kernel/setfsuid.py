"""setfsuid(2), setfsgid(2): whose files this thread makes."""

import ctypes

from rundlet.kernel.libc import LIBC

_setfsuid = LIBC.setfsuid
_setfsgid = LIBC.setfsgid


def set_file_owner(uid: int, gid: int) -> None:
    """Files are made as `uid` and `gid`; leaving 0 takes the file capabilities from the effective set.

    The calls report no error (setfsuid(2)); privileged callers need none.
    """
    _setfsgid(ctypes.c_uint(gid))
    _setfsuid(ctypes.c_uint(uid))
