"""Directories that were moved aside are emptied in a thread: nobody waits for the disk.

ext4 takes a fifth of a millisecond and more to unlink a file, and an image has
thousands.  What a process leaves behind by dying, the next to open the store removes.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from rundlet.archive.tree import remove_tree
from rundlet.step import step

_LOG: Final = logging.getLogger(__name__)


class Sweeper:
    """One thread at the most, which ends when there is nothing left."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._paths: deque[str] = deque()
        self._thread: threading.Thread | None = None

    def sweep(self, paths: Iterable[str]) -> None:
        """Remove the directories some time soon."""
        with self._guard:
            self._paths.extend(paths)
            if self._paths and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store sweeper")
                self._thread.start()

    def join(self) -> None:
        """Wait until nothing is left to remove."""
        with self._guard:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._guard:
                if not self._paths:
                    self._thread = None
                    return
                path = self._paths.popleft()
            _remove(path)


def _remove(path: str) -> None:
    """What fails once may have met a moment without memory or descriptors: it is tried again."""
    for is_last in (False, True):
        try:
            with step("store.sweep"):
                remove_tree(path)
        except OSError as error:
            if is_last:
                _LOG.warning("%s is left behind until the store is opened again: %s", path, error)
        else:
            return
