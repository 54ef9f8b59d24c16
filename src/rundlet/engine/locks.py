"""One lock per name, made on first use and forgotten with the last holder."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rundlet.step import step
from rundlet.trace.span import current, waits


class KeyedLocks:
    """Locks by key, so that work on one pod or one container is serial.  Not re-entrant."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._entries: dict[str, tuple[Lock, int]] = {}  # key → (lock, holders and waiters)
        self._holders: dict[str, str] = {}  # key → the operation that holds it

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        lock = self._enter(key)
        try:
            self._acquire(key, lock)
            try:
                self._holders[key] = _name_operation()
                yield
            finally:
                lock.release()
        finally:
            self._leave(key)

    def _acquire(self, key: str, lock: Lock) -> None:
        if lock.acquire(blocking=False):
            return
        with step("lock.wait", key):
            waits("lock", f"of {key[:12]}, which `{self._holders.get(key, '')}` holds")
            lock.acquire()

    def _enter(self, key: str) -> Lock:
        with self._guard:
            lock, users = self._entries.get(key) or (Lock(), 0)
            self._entries[key] = (lock, users + 1)
            return lock

    def _leave(self, key: str) -> None:
        with self._guard:
            lock, users = self._entries[key]
            if users == 1:
                del self._entries[key]
                self._holders.pop(key, None)
            else:
                self._entries[key] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._entries)


def _name_operation() -> str:
    """What this thread is doing, for whoever waits for it."""
    span = current()
    return span.root.name if span is not None and span.root is not None else ""
