"""prctl(2) and close_range(2): attributes of this process."""

import ctypes

from rundlet.kernel.libc import LIBC, os_error, syscall

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

CLOSE_RANGE_CLOEXEC = 4

_SYS_CLOSE_RANGE = 436
_SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}
_KEYCTL_JOIN_SESSION_KEYRING = 1

_prctl = LIBC.prctl
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2) with integer arguments."""
    result: int = _prctl(option, arg2, arg3, arg4, arg5)
    if result < 0:
        raise os_error(f"prctl {option}")
    return result


def set_name(name: str) -> None:
    """PR_SET_NAME: what ps(1) shows; at most 15 bytes count."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def set_dumpable(value: bool) -> None:
    """PR_SET_DUMPABLE: without it nobody but root of the first user namespace may look into /proc/PID."""
    prctl(PR_SET_DUMPABLE, int(value))


def set_child_subreaper() -> None:
    """PR_SET_CHILD_SUBREAPER: orphans below this process become its children."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS: execve(2) gives nothing away any more."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def get_no_new_privs() -> bool:
    """PR_GET_NO_NEW_PRIVS: whether execve(2) gives nothing, so that a program's setuid bit does nothing."""
    return bool(prctl(PR_GET_NO_NEW_PRIVS))


def close_all_but(keep: set[int]) -> None:
    """close_range(2) around the descriptors in `keep`."""
    first = 0
    for fd in (*sorted(keep), 0xFFFFFFFF):
        if fd > first:
            syscall(_SYS_CLOSE_RANGE, "close_range", ctypes.c_uint(first), ctypes.c_uint(fd - 1), 0)
        first = fd + 1


def close_on_exec_from(first_fd: int) -> None:
    """close_range(2): every descriptor from `first_fd` on closes at execve(2)."""
    syscall(
        _SYS_CLOSE_RANGE,
        "close_range",
        ctypes.c_uint(first_fd),
        ctypes.c_uint(0xFFFFFFFF),
        CLOSE_RANGE_CLOEXEC,
    )


def join_session_keyring(machine: str) -> None:
    """keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a new anonymous keyring, so that the host's keys stay out of reach."""
    syscall(_SYS_KEYCTL[machine], "keyctl", _KEYCTL_JOIN_SESSION_KEYRING, None)
