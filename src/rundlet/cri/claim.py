"""One daemon for each root and each run root.

    <directory>/rundletd.lock    its pid; flock(2) as long as it lives, and gone when it leaves

Two daemons with sockets of their own would both hear of every exit, and answer for each other's pods.
An engine beside the daemon (a program of one's own) is meant to be there and takes no such lock.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rundlet.errors import AlreadyExists
from rundlet.kernel.failure import translating

_NAME = "rundletd.lock"
_PID_MAX_BYTES = 32


@contextmanager
def claim(directory: str) -> Iterator[None]:
    """Be the daemon of `directory`, which is made when missing, for the block.

    Raises AlreadyExists, which names the pid of the one that is there.
    """
    path = f"{directory}/{_NAME}"
    with translating(f"claim {directory}"):
        os.makedirs(directory, mode=0o711, exist_ok=True)
        fd = _lock(path, directory)
    try:
        with translating(f"claim {directory}"):
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.unlink(path)
        os.close(fd)


def _lock(path: str, directory: str) -> int:
    """A descriptor that holds the lock of the file that `path` names."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BlockingIOError:
            pid = os.pread(fd, _PID_MAX_BYTES, 0).decode(errors="replace").strip()
            os.close(fd)
            raise AlreadyExists(
                f"another rundletd (pid {pid}) uses {directory}",
                hint="stop it, or give this one its own --root and --run-root",
            ) from None
        os.close(fd)  # the one that had it has left, and taken the file along
