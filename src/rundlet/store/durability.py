"""What a power failure may take: content is believed once it is known to be on disk.

A pull does not wait for the disk.  Its rows carry the boot id of the machine; a thread
calls syncfs(2), then clears it, and puts that on disk too.  Rows that still carry the id of
an earlier boot were not surely on disk when that boot ended: they and the images on them are
let go, and the next pull brings them again.
"""

import logging
import os
import threading
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Final

from rundlet.errors import Error
from rundlet.kernel.failure import translating
from rundlet.kernel.sync import syncfs
from rundlet.step import step
from rundlet.store.database import Database

_LOG: Final = logging.getLogger(__name__)

_ANY_DOUBTFUL: Final = (
    "SELECT EXISTS (SELECT 1 FROM layers WHERE boot_id NOT IN ('', :boot_id))"
    " OR EXISTS (SELECT 1 FROM blobs WHERE boot_id NOT IN ('', :boot_id))"
)
_FORGET: Final = (
    (
        "DELETE FROM images WHERE id IN (SELECT image_id FROM image_layers JOIN layers ON layers.id = layer_id"
        " WHERE boot_id NOT IN ('', :boot_id))"
    ),
    (
        "DELETE FROM images WHERE id IN (SELECT image_id FROM image_blobs JOIN blobs USING (digest)"
        " WHERE boot_id NOT IN ('', :boot_id))"
    ),
    (
        "DELETE FROM snapshots WHERE key IN (SELECT key FROM snapshot_layers JOIN layers ON layers.id = layer_id"
        " WHERE boot_id NOT IN ('', :boot_id))"
    ),
    "UPDATE layers SET kept_until_s = 0 WHERE boot_id NOT IN ('', :boot_id)",
    "UPDATE blobs SET kept_until_s = 0 WHERE boot_id NOT IN ('', :boot_id)",
)


class Durability:
    """`roots` are directories on the file systems that content is kept on."""

    def __init__(self, roots: Sequence[str], database: Database, boot_id: str) -> None:
        self._roots = tuple(roots)
        self._database = database
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._wanted = False
        self._thread: threading.Thread | None = None

    def forget_doubtful(self) -> None:
        """Let go of what an earlier boot may not have written; `Store.collect` frees it then."""
        values = {"boot_id": self._boot_id}
        with self._database.read() as connection:
            if not connection.execute(_ANY_DOUBTFUL, values).fetchone()[0]:
                return
        with self._database.write() as connection:
            for statement in _FORGET:
                connection.execute(statement, values)

    def begin_if_new(self) -> None:
        """`begin` when there is content that may not be on disk."""
        with self._database.read() as connection:
            if not any(_find_unsynced(connection, self._boot_id)):
                return
        self.begin()

    def begin(self) -> None:
        """Put what is new on disk, in a thread: content, or names alone."""
        with self._lock:
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store sync")
                self._thread.start()

    def join(self) -> None:
        """Wait until nothing is being written any more."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                self._sync()
            except Error as error:
                _LOG.warning("what was pulled may be lost in a power failure: %s", error)

    def _sync(self) -> None:
        with self._database.read() as connection:
            layers, blobs = _find_unsynced(connection, self._boot_id)
        if layers or blobs:
            for root in self._roots:
                with translating(f"sync {root}"):
                    _sync_file_system(root)
            with self._database.write() as connection:
                connection.executemany("UPDATE layers SET boot_id = '' WHERE id = ?", layers)
                connection.executemany("UPDATE blobs SET boot_id = '' WHERE digest = ?", blobs)
        self._database.flush()


def _sync_file_system(root: str) -> None:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with step("store.sync"):
            syncfs(fd)
    finally:
        os.close(fd)


def _find_unsynced(connection: Connection, boot_id: str) -> tuple[list[tuple[int]], list[tuple[str]]]:
    """Ids of layers and digests of blobs whose content is complete but perhaps not on disk."""
    layers = connection.execute("SELECT id FROM layers WHERE boot_id = ?", (boot_id,)).fetchall()
    blobs = connection.execute("SELECT digest FROM blobs WHERE boot_id = ?", (boot_id,)).fetchall()
    return layers, blobs
