"""ioprio_set(2): the I/O class and priority of this process."""

import os

from rundlet.kernel.libc import syscall

CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
# Asked once: after personality(2) the machine has another name.
_NUMBER = {"x86_64": 251, "aarch64": 30}.get(os.uname().machine, -1)
_WHO_PROCESS = 1
_CLASS_SHIFT = 13


def set_io_priority(io_class: int, priority: int) -> None:
    """`io_class` is a value of CLASSES, `priority` 0 (first) to 7; raises OSError."""
    value = io_class << _CLASS_SHIFT | priority
    syscall(_NUMBER, "ioprio_set", _WHO_PROCESS, 0, value)
