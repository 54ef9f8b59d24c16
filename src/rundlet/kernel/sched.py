"""sched_setattr(2) and sched_setaffinity(2): how this thread is given the CPU."""

import ctypes
import os

from rundlet.kernel.libc import syscall

# <linux/sched.h>
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# Asked once: after personality(2) the machine has another name.
_NUMBER = {"x86_64": 314, "aarch64": 274}.get(os.uname().machine, -1)


class _SchedAttr(ctypes.Structure):
    """struct sched_attr of sched_setattr(2), first version (48 bytes)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("sched_policy", ctypes.c_uint32),
        ("sched_flags", ctypes.c_uint64),
        ("sched_nice", ctypes.c_int32),
        ("sched_priority", ctypes.c_uint32),
        ("sched_runtime", ctypes.c_uint64),
        ("sched_deadline", ctypes.c_uint64),
        ("sched_period", ctypes.c_uint64),
    )


def set_scheduler(
    policy: int, flags: int, nice: int, priority: int, runtime_ns: int, deadline_ns: int, period_ns: int
) -> None:
    """Of this thread; raises OSError (EPERM without CAP_SYS_NICE, EINVAL for values that do not fit)."""
    size = ctypes.sizeof(_SchedAttr)
    attr = _SchedAttr(size, policy, flags, nice, priority, runtime_ns, deadline_ns, period_ns)
    syscall(_NUMBER, "sched_setattr", 0, ctypes.byref(attr), ctypes.c_uint(0))
