"""rt_sigaction(2) for the signals that the C library keeps to itself."""

import ctypes
import os

from rundlet.kernel.libc import syscall

_SYS_RT_SIGACTION = {"x86_64": 13, "aarch64": 134}
_RESERVED = (32, 33)  # glibc's SIGCANCEL and SIGSETXID; its sigaction(3) refuses them
_SIGSET_BYTES = 8
# struct kernel_sigaction of zeros on either machine: SIG_DFL, no flags, an empty mask
_DEFAULT_ACTION = bytes(32)


def reset_reserved_signals() -> None:
    """SIG_DFL for signals 32 and 33: GNU make 4.3 starts its commands with both ignored."""
    number = _SYS_RT_SIGACTION.get(os.uname().machine)
    if number is None:
        return
    for signum in _RESERVED:
        syscall(
            number,
            "rt_sigaction",
            ctypes.c_int(signum),
            _DEFAULT_ACTION,
            None,
            ctypes.c_size_t(_SIGSET_BYTES),
        )
