"""Sandboxes made ahead of time, so that a call does not wait for one.

    with SandboxPool("python:3.12", size=4) as pool:
        pool.run(["python3", "-c", "print(1)"]).stdout       # a sandbox of its own, used once
        with pool.take() as box:                              # or several calls in one
            ...

A sandbox is never used again for somebody else: what is taken is removed afterwards, and another one made.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rundlet.errors import Error, FailedPrecondition
from rundlet.local.machine import Machine
from rundlet.local.outside import usual_machine
from rundlet.sandbox.sandbox import Call, Sandbox, Snapshot

_log = logging.getLogger(__name__)
_RETRY_S = 1.0


class SandboxPool:
    """`size` sandboxes wait at any time; one thread makes and removes them.  Thread-safe."""

    def __init__(
        self, image: str | Snapshot, *, size: int = 2, machine: Machine | None = None, **options: Any
    ) -> None:
        """`options` are those of Sandbox.  The first sandbox is made here, so that what is wrong is told at once."""
        self._image, self._size, self._options = image, size, options
        self._machine = machine or usual_machine()
        self._changed = threading.Condition()
        self._ready: deque[Sandbox] = deque()
        self._used: deque[Sandbox] = deque()
        self._closed = False
        self._failure: Error | None = None
        self._ready.append(self._make())
        self._keeper = threading.Thread(target=self._keep, name="sandbox-pool", daemon=True)
        self._keeper.start()

    def _make(self) -> Sandbox:
        return Sandbox(self._image, machine=self._machine, **self._options)

    def take(self) -> "Taken":
        """One that is ready, or the next to be; it goes when its context ends.

        Raises what making sandboxes raises, when none is ready for that reason.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._failure or self._closed)
            if self._ready:
                taken = self._ready.popleft()
                self._changed.notify_all()
                return Taken(self, taken)
            if self._failure:
                failure, self._failure = self._failure, None
                raise failure
        raise FailedPrecondition("the pool is closed")

    def run(self, argv: Sequence[str], **given: Any) -> Call:
        """`Sandbox.run` in a sandbox of its own."""
        with self.take() as box:
            return box.run(argv, **given)

    def ready(self) -> int:
        """How many wait now."""
        with self._changed:
            return len(self._ready)

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Until as many wait as the pool has room for; whether they do."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._ready) >= self._size, timeout_s)

    def give_back(self, box: Sandbox) -> None:
        """It is removed in the background."""
        with self._changed:
            if not self._closed:
                self._used.append(box)
                self._changed.notify_all()
                return
        box.close()

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._used or len(self._ready) < self._size)
                if self._closed:
                    return
                used = self._used.popleft() if len(self._ready) >= self._size else None
            if used is not None:
                _close(used)
            else:
                self._fill()

    def _fill(self) -> None:
        try:
            made = self._make()
        except Error as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed, _RETRY_S)
            return
        with self._changed:
            if not self._closed:
                self._ready.append(made)
                self._failure = None
                self._changed.notify_all()
                return
        made.close()

    def close(self) -> None:
        """Remove all that wait; those that are taken go with their contexts.  Idempotent."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._keeper.join()
        for box in (*self._ready, *self._used):
            _close(box)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Taken:
    """A sandbox of a pool, for one context."""

    def __init__(self, pool: SandboxPool, box: Sandbox) -> None:
        self._pool, self.box = pool, box

    def __enter__(self) -> Sandbox:
        return self.box

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.give_back(self.box)


def _close(box: Sandbox) -> None:
    try:
        box.close()
    except Error as error:
        _log.warning("cannot remove sandbox %s: %s", box.id[:12], error)
