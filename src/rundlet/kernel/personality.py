"""personality(2): the execution domain of this process."""

import ctypes

from rundlet.kernel.libc import LIBC, os_error

DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
_personality = LIBC.personality
_personality.argtypes = (ctypes.c_ulong,)


def set_personality(domain: int) -> None:
    """Raises OSError."""
    if _personality(domain) < 0:
        raise os_error("personality")
