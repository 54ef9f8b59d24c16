"""One lock per name, made on first use and forgotten with the last holder."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class KeyedLocks:
    """Locks by key, so that work on one pod or one container is serial.  Not re-entrant."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._entries: dict[str, tuple[Lock, int]] = {}  # key → (lock, holders and waiters)

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        lock = self._enter(key)
        try:
            with lock:
                yield
        finally:
            self._leave(key)

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
            else:
                self._entries[key] = (lock, users - 1)

    def __len__(self) -> int:
        return len(self._entries)
