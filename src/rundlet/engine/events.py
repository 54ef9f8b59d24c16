"""Hears from the keeper when containers end, and records it."""

import logging
import threading

from rundlet.engine.exits import record_exit
from rundlet.engine.parts import Parts
from rundlet.errors import Error

_log = logging.getLogger(__name__)
_RETRY_S = 1.0


class ExitWatcher:
    """A thread on the keeper's stream of exits."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exit-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                for end in self._parts.keeper.watch():
                    if not end.exec_id:
                        record_exit(self._parts.containers, end)
            except Error as error:
                _log.debug("no exits from the keeper for now: %s", error)
            self._closing.wait(_RETRY_S)
