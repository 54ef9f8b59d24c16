"""Containers that this process sees to itself: when one has ended, a thread of it settles it.

A library's caller stays, as a rule, until its containers have ended.  A minder for them would have its hand
start a fresh Python at each end (46 ms of processor time, where the container's whole life takes 40);
the lease that `local.wish` holds brings one only when this process is killed, or lets go, before.
"""

import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable

from rundlet.engine.engine import Engine
from rundlet.engine.undo import attempt
from rundlet.errors import Error, NotFound
from rundlet.local.wish import Wishes

_log = logging.getLogger(__name__)
_CODES_MAX = 1024
_MISSED = ""


class Attendance:
    """Of one machine; thread-safe.  The thread starts with the first end."""

    def __init__(self, engine: Engine, wishes: Wishes) -> None:
        self._engine = engine
        self._wishes = wishes
        self._settle: Callable[[str], object] = wishes.has_settled
        self._ended: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._codes: OrderedDict[str, int] = OrderedDict()

    def begin(self, settle: Callable[[str], object]) -> None:
        """`settle` does what follows the end of a container; idempotent."""
        self._settle = settle
        self._engine.on_exit(self._hear)

    def recall(self, container_id: str) -> int | None:
        """The exit code of one that was removed at its end; None when it is not known."""
        with self._guard:
            return self._codes.get(container_id)

    def _hear(self, container_id: str) -> None:
        self._ended.put(container_id)
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="attendance", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (container_id := self._ended.get()) is not None:
            attended = self._wishes.attended()
            if container_id == _MISSED:
                attempt("renew the lease", self._wishes.renew)
                for each in attended:
                    self._look(each)
            elif container_id in attended:
                self._look(container_id)

    def _look(self, container_id: str) -> None:
        """Settle it if it has ended; what fails is left to a minder, when this machine is closed."""
        try:
            status = self._engine.containers.status(container_id)
            if status.state != "exited":
                return
            self._remember(container_id, status.exit_code)
            self._settle(container_id)
        except NotFound:
            self._wishes.has_settled(container_id)
        except Error as error:
            _log.warning("cannot settle container %s: %s", container_id[:12], error)

    def _remember(self, container_id: str, exit_code: int | None) -> None:
        with self._guard:
            if exit_code is not None:
                self._codes[container_id] = exit_code
            while len(self._codes) > _CODES_MAX:
                self._codes.popitem(last=False)

    def close(self) -> None:
        """End the thread, when what it is at is done."""
        with self._guard:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._ended.put(None)
            thread.join()
