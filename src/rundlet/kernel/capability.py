"""capabilities(7): the five sets of a thread, by capset(2) and prctl(2).

A set is an int with bit N for capability number N of <linux/capability.h>.
"""

import ctypes
import os
from collections.abc import Iterable

from rundlet.kernel.libc import LIBC, os_error
from rundlet.kernel.prctl import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    prctl,
)

NAMES = tuple(
    f"CAP_{name}"
    for name in """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
    """.split()
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
_VERSION_3 = 0x20080522
_capset = LIBC.capset


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def mask_of(names: Iterable[str]) -> int:
    """The set holding `names` ("CAP_CHOWN" …); KeyError for a name that the kernel headers do not have."""
    mask = 0
    for name in names:
        mask |= 1 << NUMBERS[name]
    return mask


def names_of(mask: int) -> list[str]:
    """The names in a set, in number order."""
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


def last_capability() -> int:
    """The highest capability number that the running kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())


def read_sets(pid: str = "self") -> dict[str, int]:
    """Inheritable, Permitted, Effective, Bounding and Ambient of a process (proc(5), Cap* of status)."""
    with open(f"/proc/{pid}/status", "rb") as file:
        lines = [line.split() for line in file if line.startswith(b"Cap")]
    long = {
        b"CapInh:": "inheritable",
        b"CapPrm:": "permitted",
        b"CapEff:": "effective",
        b"CapBnd:": "bounding",
    }
    return {long.get(key, "ambient"): int(value, 16) for key, value in lines}


def limit_bounding(keep: int, last: int) -> None:
    """Drop every capability up to number `last` that is not in `keep` from the bounding set."""
    for number in range(last + 1):
        if not keep >> number & 1:
            prctl(PR_CAPBSET_DROP, number)


def set_sets(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for this thread."""
    header = _Header(_VERSION_3, 0)
    low, high = (_Data(effective >> shift & 0xFFFFFFFF, permitted >> shift & 0xFFFFFFFF, inheritable >> shift & 0xFFFFFFFF)
                 for shift in (0, 32))  # fmt: skip
    if _capset(ctypes.byref(header), ctypes.byref((_Data * 2)(low, high))) < 0:
        raise os_error("capset")


def set_ambient(mask: int) -> None:
    """Replace the ambient set (needs each in permitted and inheritable)."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(mask.bit_length()):
        if mask >> number & 1:
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def has_capability(name: str) -> bool:
    """Whether this process may use capability `name` now."""
    return os.geteuid() == 0 and bool(read_sets()["effective"] >> NUMBERS[name] & 1)
