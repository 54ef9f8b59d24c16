"""syncfs(2) and the boot id, by which a later reader knows what a crash may have taken."""

import ctypes

from rundlet.kernel.libc import BLOCKING, os_error

_syncfs = BLOCKING.syncfs
_syncfs.argtypes = (ctypes.c_int,)


def syncfs(fd: int) -> None:
    """Write all of the file system that `fd` is on to its disk; raises OSError."""
    if _syncfs(fd) < 0:
        raise os_error("syncfs")


def read_boot_id() -> str:
    """A UUID that the kernel makes anew at every boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
