"""What the seccomp compiler makes; apart from the compiler, which a cached program does not need."""

from typing import NamedTuple

COMPILER_VERSION = 2  # raise it whenever the same profile gives another program


class SeccompProgram(NamedTuple):
    """`filter` is struct sock_filter[], `flags` those of seccomp(SECCOMP_SET_MODE_FILTER)."""

    filter: bytes
    flags: int
