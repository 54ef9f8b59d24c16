"""The same request twice: the second waits for the first and gets what it made.

A kubelet that ran out of patience asks again with the same metadata, while the first
call still works or just after it has ended with nobody left to hear the id.  Either way
the retry must get the pod that is there, not "the name is taken".
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future

from rundlet.step import step
from rundlet.trace.span import waits

_UNCLAIMED_MAX = 1024


class Twins:
    """Requests by key; two of a key are twins when they ask for the same."""

    def __init__(self, exists: Callable[[str], bool]) -> None:
        """`exists` tells whether a made object can still be handed out."""
        self._exists = exists
        self._guard = threading.Lock()
        self._running: dict[Hashable, tuple[object, Future[str]]] = {}
        self._unclaimed: dict[Hashable, tuple[object, str]] = {}

    def run(self, key: Hashable, asked: object, make: Callable[[], str]) -> str:
        """The id of what `make` made, now or for a twin; raises what making it raised."""
        with self._guard:
            found = self._claim(key, asked)
            if found:
                return found
            twin = self._running.get(key)
            mine: Future[str] = Future()
            if twin is None:
                self._running[key] = (asked, mine)
        if twin is not None:
            # Another request for the same name goes its own way, and is told that the name is taken.
            return _await_twin(twin[1]) if twin[0] == asked else make()
        return self._lead(key, mine, make)

    def _lead(self, key: Hashable, mine: "Future[str]", make: Callable[[], str]) -> str:
        try:
            made = make()
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(made)
            return made
        finally:
            with self._guard:
                del self._running[key]

    def _claim(self, key: Hashable, asked: object) -> str:
        entry = self._unclaimed.get(key)
        if entry is None or entry[0] != asked:
            return ""
        del self._unclaimed[key]
        return entry[1] if self._exists(entry[1]) else ""

    def offer(self, key: Hashable, asked: object, made: str) -> None:
        """Nobody heard that `made` was made: the next twin gets it."""
        with self._guard:
            if len(self._unclaimed) >= _UNCLAIMED_MAX:
                del self._unclaimed[next(iter(self._unclaimed))]
            self._unclaimed[key] = (asked, made)


def _await_twin(twin: "Future[str]") -> str:
    with step("twin.wait"):
        waits("operation", "the first call with this name")
        return twin.result()
