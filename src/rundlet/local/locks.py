"""One verb at a time on a container, whichever process it comes from."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rundlet.kernel.failure import translating
from rundlet.step import step
from rundlet.trace.span import waits


class ContainerLocks:
    """Files under `directory`, locked by flock(2): a killed process holds none."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    @contextmanager
    def hold(self, container_id: str) -> Iterator[None]:
        """Waits for whoever works on the container now."""
        with translating(f"lock container {container_id[:12]}"):
            fd = self._open(container_id)
        try:
            self._acquire(fd, container_id)
            yield
        finally:
            os.close(fd)

    def forget(self, container_id: str) -> None:
        """The container is gone.  To be called by who holds its lock."""
        try:
            os.unlink(f"{self._directory}/{container_id}")
        except FileNotFoundError:
            pass

    def _open(self, container_id: str) -> int:
        path = f"{self._directory}/{container_id}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _acquire(self, fd: int, container_id: str) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with step("local.lock"):
                waits("lock", f"of container {container_id[:12]}, which another process holds")
                fcntl.flock(fd, fcntl.LOCK_EX)
