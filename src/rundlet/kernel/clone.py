"""clone3(2) without CLONE_VM: fork(2) with namespaces, a pidfd and a cgroup in one call.

Only for a process with a single thread: Python's own fork hooks do not run, so a
lock held by another thread would stay locked in the child for ever.  The keeper
has one thread, by design.
"""

import ctypes
import signal
from typing import NamedTuple

from rundlet.kernel.libc import syscall

CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_INTO_CGROUP = 0x200000000

_SYS_CLONE3 = 435


class _CloneArgs(ctypes.Structure):
    """struct clone_args of clone3(2), version 2 (88 bytes)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack",
            "stack_size", "tls", "set_tid", "set_tid_size", "cgroup",
        )
    )  # fmt: skip


class Cloned(NamedTuple):
    """`pid` is 0 in the child, whose `pidfd` is -1."""

    pid: int
    pidfd: int


def clone(namespace_flags: int = 0, cgroup_fd: int = -1, *, sibling: bool = False) -> Cloned:
    """Fork into new namespaces (CLONE_NEW* flags) and, on cgroup v2, into the cgroup open on `cgroup_fd`.

    A `sibling` becomes the child of this process's parent, who gets its SIGCHLD.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs()
    args.flags = namespace_flags | CLONE_PIDFD | (CLONE_INTO_CGROUP if cgroup_fd >= 0 else 0)
    args.pidfd = ctypes.addressof(pidfd)
    if sibling:
        args.flags |= CLONE_PARENT
    else:
        args.exit_signal = signal.SIGCHLD
    args.cgroup = max(cgroup_fd, 0)
    pid = syscall(_SYS_CLONE3, "clone3", ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args)))
    return Cloned(pid, pidfd.value if pid else -1)
