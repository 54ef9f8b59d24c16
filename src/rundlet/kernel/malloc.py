"""mallopt(3): how the C library returns memory."""

from rundlet.kernel.libc import LIBC

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_freed(size: int) -> None:
    """Use freed memory up to `size` bytes again instead of giving it back: page faults cost more than copies.

    Only glibc has this; elsewhere nothing happens.
    """
    mallopt = getattr(LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, size)
        mallopt(_M_MMAP_THRESHOLD, size)


def share_arena() -> None:
    """One heap for all threads, not one for each few: every heap keeps what was freed in it.

    Before there are threads; where only one runs at a time (Python's lock) nothing is lost by it.
    """
    mallopt = getattr(LIBC, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """malloc_trim(3): all freed memory, now."""
    trim = getattr(LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)
