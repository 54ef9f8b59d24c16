"""pidfd_open(2) and ioctl PIDFD_GET_INFO: how a process ended that somebody else reaped.

struct pidfd_info (linux/pidfd.h, 64 bytes): mask u64, cgroupid u64,
pid tgid ppid ruid rgid euid egid suid sgid fsuid fsgid u32, exit_code s32
"""

import fcntl
import struct

_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info)
_INFO = struct.Struct("=QQ11Ii")
_INFO_EXIT = 1 << 3


def read_exit_status(pidfd: int) -> int | None:
    """The wait status of a process that was reaped; None when it was not, or the kernel is older than 6.15."""
    raw = bytearray(_INFO.size)
    _INFO.pack_into(raw, 0, _INFO_EXIT, *[0] * 13)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, raw)
    except OSError:
        return None
    fields = _INFO.unpack(raw)
    return fields[-1] if fields[0] & _INFO_EXIT else None
