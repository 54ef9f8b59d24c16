"""One lock a network, among threads and processes: flock(2) on a file of its name."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rundlet.network.leases import storage_error
from rundlet.step import step
from rundlet.trace.span import waits


@contextmanager
def hold(directory: str, name: str, operation: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the lock of network `name`, LOCK_EX to change what its pods share."""
    path = os.path.join(directory, name)
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error(f"lock network {name}", error) from error
    try:
        _acquire(fd, operation, path)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, operation: int, path: str) -> None:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        with step("network.lock", path):
            waits("lock", path)
            fcntl.flock(fd, operation)
