"""seccomp(2): load a filter into the calling thread."""

import ctypes
import os

from rundlet.kernel.libc import syscall

# Asked once: after personality(2) the machine has another name.
_NUMBER = {"x86_64": 317, "aarch64": 277}.get(os.uname().machine, -1)
_SECCOMP_SET_MODE_FILTER = 1
_INSTRUCTION_BYTES = 8

SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load_filter(program: bytes, flags: int) -> int:
    """SECCOMP_SET_MODE_FILTER: `program` is struct sock_filter[]; it stays for good, also across execve(2).

    With SECCOMP_FILTER_FLAG_NEW_LISTENER the result is the listener's descriptor (seccomp_unotify(2)).
    Needs PR_SET_NO_NEW_PRIVS or CAP_SYS_ADMIN.  Raises OSError: EACCES without
    either, EINVAL for a bad program or flag, ENOMEM when filters pile up.
    """
    fprog = _SockFprog(len(program) // _INSTRUCTION_BYTES, program)
    return syscall(
        _NUMBER, "seccomp", ctypes.c_uint(_SECCOMP_SET_MODE_FILTER), ctypes.c_uint(flags), ctypes.byref(fprog)
    )  # fmt: skip
