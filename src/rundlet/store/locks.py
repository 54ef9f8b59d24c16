"""Locks between processes: flock(2) on files in the run root, gone with their holder.

    <run_root>/lock-<name>      exists only while somebody holds or awaits it

A process may die at any point: the kernel then drops the lock, and the file is taken
over (and removed) by the next holder.  Threads exclude each other too, since every
holder opens the file anew.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rundlet.errors import Cancelled, DeadlineExceeded
from rundlet.kernel.failure import translating
from rundlet.step import step
from rundlet.trace.span import waits

# flock(2) cannot wait for a time, so a waiter asks again: soon at first, then seldom.
_PAUSE_FIRST_S: Final = 0.001
_PAUSE_MAX_S: Final = 0.05


class Patience(threading.Event):
    """How long a job may wait: until it is set (given up) or `deadline_ns` (CLOCK_MONOTONIC) has passed."""

    def __init__(self, deadline_ns: int | None = None) -> None:
        super().__init__()
        self.deadline_ns = deadline_ns

    def check(self, what: str) -> None:
        """Raises DeadlineExceeded or Cancelled when the job must end."""
        if self.deadline_ns is not None and time.monotonic_ns() >= self.deadline_ns:
            raise DeadlineExceeded(f"{what}: the time is out")
        if self.is_set():
            raise Cancelled(f"{what}: given up")


class Locks:
    def __init__(self, run_root: str) -> None:
        self._run_root = run_root

    @contextmanager
    def hold(self, name: str, patience: Patience, *, shared: bool = False) -> Iterator[None]:
        """Hold the lock `name` for the block; raises DeadlineExceeded or Cancelled while waiting."""
        fd = self._try_lock(name, shared)
        if fd < 0:
            fd = self._await_lock(name, patience, shared)
        try:
            yield
        finally:
            self._release(name, fd, shared)

    def _await_lock(self, name: str, patience: Patience, shared: bool) -> int:
        pause_s = _PAUSE_FIRST_S
        with step("store.lock", name):
            waits("lock", self._path(name))
            while (fd := self._try_lock(name, shared)) < 0:
                patience.check(f"lock {name}")
                patience.wait(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        return fd

    @contextmanager
    def try_hold(self, name: str) -> Iterator[bool]:
        """Hold the lock `name` for the block if it is free; yields whether it is held."""
        fd = self._try_lock(name, shared=False)
        try:
            yield fd >= 0
        finally:
            if fd >= 0:
                self._release(name, fd, shared=False)

    def _path(self, name: str) -> str:
        return f"{self._run_root}/lock-{name}"

    def _try_lock(self, name: str, shared: bool) -> int:
        """A descriptor that holds the lock, -1 when another has it."""
        path = self._path(name)
        with translating(f"lock {name}"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if _flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX) and _is_same_file(fd, path):
                    return fd
            except BaseException:
                os.close(fd)
                raise
        os.close(fd)
        return -1

    def _release(self, name: str, fd: int, shared: bool) -> None:
        """The last holder removes the file; who waits on the old one sees that and opens anew."""
        try:
            if not shared or _flock(fd, fcntl.LOCK_EX):
                os.unlink(self._path(name))
        except FileNotFoundError:
            pass
        finally:
            os.close(fd)


def _flock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            return False
        raise
    return True


def _is_same_file(fd: int, path: str) -> bool:
    """Whether `path` still names the open file: its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
