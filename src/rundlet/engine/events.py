"""Hears from the keeper when containers end, and records it."""

import logging
import threading
from collections.abc import Callable

from rundlet.engine.parts import Parts
from rundlet.engine.reconcile import reconcile_containers, record_end
from rundlet.errors import Error, NotFound
from rundlet.keeper.handles import Watch
from rundlet.keeper.protocol import ExitRecord

_log = logging.getLogger(__name__)
_RETRY_S = 0.5


class ExitWatcher:
    """A thread on the keeper's stream of exits; it starts with the first container, as the keeper does.

    Whatever ended between two streams (the keeper's supervisor was killed) is found by
    comparing the records with the keeper's list after each new stream has begun.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._watch: Watch | None = None
        self._listeners: list[Callable[[str], None]] = []
        self.losses = 0  # times that the keeper went away under the thread

    def ensure(self) -> None:
        """Begin to listen, unless that was done before; does not wait."""
        with self._guard:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._run, name="exit-watcher", daemon=True)
                self._thread.start()

    def tell(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of each container that has ended, and with "" when some may have been missed.

        It is called by the thread, and must not wait.
        """
        self._listeners.append(listener)

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        with self._guard:
            self._closing.set()
            if self._watch is not None:
                self._watch.stop()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._listen()
            except Error as error:
                _log.debug("no exits from the keeper for now: %s", error)
            self._closing.wait(_RETRY_S)

    def _record(self, end: ExitRecord) -> None:
        """Of a container that has lived before this may be an end that is forgotten already: the keeper knows."""
        try:
            record = self._parts.containers.get(end.container_id)
        except NotFound:
            return  # removed meanwhile
        started_at_ns = 0
        if record.facts.lives > 1:
            state = self._parts.keeper.state(end.container_id)
            if state.exit is None:
                return
            started_at_ns, end = state.started_at_ns, state.exit
        record_end(self._parts, record, started_at_ns, end)

    def _say(self, container_id: str) -> None:
        for listener in self._listeners:
            listener(container_id)

    def _listen(self) -> None:
        watch = self._parts.keeper.watch()
        try:
            with self._guard:
                self._watch = watch
                if self._closing.is_set():
                    return
            reconcile_containers(self._parts)
            self._say("")
            for end in watch:
                self._record(end)
                self._say(end.container_id)
        finally:
            with self._guard:
                self._watch = None
                self.losses += not self._closing.is_set()
            watch.close()
