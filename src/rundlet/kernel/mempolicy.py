"""set_mempolicy(2): from which NUMA nodes this thread's memory comes."""

import ctypes
import os
from collections.abc import Collection

from rundlet.kernel.libc import syscall

# <linux/mempolicy.h>
MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}
# Asked once: after personality(2) the machine has another name.
_NUMBER = {"x86_64": 238, "aarch64": 237}.get(os.uname().machine, -1)
_WORD_BITS = 64


def set_memory_policy(mode: int, nodes: Collection[int]) -> None:
    """`mode` is of MODES with FLAGS or-ed to it; raises OSError."""
    words = max(nodes, default=0) // _WORD_BITS + 1
    mask = sum(1 << node for node in nodes)
    array = (ctypes.c_uint64 * words)(*(mask >> _WORD_BITS * n & (1 << _WORD_BITS) - 1 for n in range(words)))
    bits = words * _WORD_BITS + 1 if nodes else 0  # the kernel reads one bit less than it is told
    syscall(_NUMBER, "set_mempolicy", mode, array if nodes else None, ctypes.c_ulong(bits))
