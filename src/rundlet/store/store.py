"""The store: opening it, what it uses of the disk, and freeing what nothing needs."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

from rundlet.kernel.failure import translating
from rundlet.kernel.sync import read_boot_id
from rundlet.spec.digest import Digest, parse_digest
from rundlet.step import step
from rundlet.store.blobs import Blobs
from rundlet.store.database import Database
from rundlet.store.durability import Durability
from rundlet.store.images import Images
from rundlet.store.layers import Layers
from rundlet.store.locks import Locks, Patience
from rundlet.store.schema import SCHEMA
from rundlet.store.snapshots import Snapshots
from rundlet.store.sweeper import Sweeper

_DIRECTORIES: Final = ("blobs/sha256", "ingest", "layers", "snapshots")
# Held shared by whoever brings content that no image names yet, exclusively by who frees content.
_CONTENT_LOCK: Final = "content"

_UNUSED_LAYERS: Final = (
    "SELECT id FROM layers WHERE kept_until_s < ? AND id NOT IN (SELECT layer_id FROM image_layers)"
    " AND id NOT IN (SELECT layer_id FROM snapshot_layers)"
)
_UNUSED_BLOBS: Final = (
    "SELECT digest FROM blobs WHERE kept_until_s < ? AND digest NOT IN (SELECT digest FROM image_blobs)"
)


class Store:
    """One store on disk (see `schema`); any number of threads and processes use it at once."""

    def __init__(self, root: str, run_root: str, schema: Sequence[str]) -> None:
        self.root = root
        boot_id = read_boot_id()
        self._locks = Locks(run_root)
        self.database = Database(f"{root}/state.db", (*SCHEMA, *schema))
        self.blobs = Blobs(root, self.database, self._locks, boot_id)
        self.layers = Layers(root, self.database, self._locks, boot_id)
        self.images = Images(self.database, self.blobs, self.collect)
        self.snapshots = Snapshots(root, self.database, self.layers)
        self._durability = Durability(root, self.database, boot_id)
        self._sweeper = Sweeper()

    @classmethod
    def open(cls, root: str, run_root: str, schema: Sequence[str] = ()) -> Self:
        """The store at `root`, made when missing, tidied of what processes that died have left.

        `run_root` (locks) is gone after a reboot; `schema` are further tables for the same
        database.  Raises PermissionDenied, ResourceExhausted, DataLoss (database damaged).
        """
        root, run_root = os.path.abspath(root), os.path.abspath(run_root)
        with translating(f"store {root}"):
            for directory in (root, *(f"{root}/{name}" for name in _DIRECTORIES), run_root):
                os.makedirs(directory, mode=0o700, exist_ok=True)
            store = cls(root, run_root, schema)
            store._tidy()
        return store

    def close(self) -> None:
        """Wait until what was pulled is on disk and what was removed is off it, and close the database."""
        self._sweeper.join()
        self._durability.join()
        self.database.close()

    def settle(self) -> None:
        """Wait until the files of what was removed are gone."""
        self._sweeper.join()

    def usage(self) -> tuple[int, int]:
        """(bytes, inodes) of images: layers and blobs, summed from what is recorded."""
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT (SELECT coalesce(sum(size_bytes), 0) FROM layers)"
                " + (SELECT coalesce(sum(size_bytes), 0) FROM blobs),"
                " (SELECT coalesce(sum(inodes), 0) FROM layers) + (SELECT count(*) FROM blobs)"
            ).fetchone()
        return (row[0], row[1])

    @contextmanager
    def bringing(self, patience: Patience) -> Iterator[None]:
        """While the block runs nothing is freed: it brings content that no image names yet."""
        try:
            with self._locks.hold(_CONTENT_LOCK, patience, shared=True):
                yield
        except BaseException:
            self.collect()
            self.settle()  # a disk that was too small has its room again when the failure is told
            raise
        self.collect()

    def give_up(self, chain_ids: Sequence[str], digests: Sequence[Digest]) -> None:
        """Let go of what a pull that cannot be gone on with has brought, as far as no image uses it."""
        for digest in digests:  # first of all: on a full disk the database needs the room
            self.blobs.discard_idle_ingest(digest)
        with self.database.write() as connection:
            connection.executemany(
                "UPDATE layers SET kept_until_s = 0 WHERE chain_id = ?", [(each,) for each in chain_ids]
            )
            connection.executemany(
                "UPDATE blobs SET kept_until_s = 0 WHERE digest = ?", [(str(each),) for each in digests]
            )

    def collect(self) -> None:
        """Free layers and blobs that no image and no snapshot uses; the files of layers go a little later.

        While content is being brought it does nothing: the last one to bring calls it again.
        """
        now_s = int(time.time())
        with self.database.read() as connection:
            unused = [
                *connection.execute(_UNUSED_LAYERS, (now_s,)),
                *connection.execute(_UNUSED_BLOBS, (now_s,)),
            ]
        if not unused:
            return
        with translating("free unused content"), self._locks.try_hold(_CONTENT_LOCK) as held:
            gone = self._free_unused(now_s) if held else []
        self._sweeper.sweep(gone)

    def _free_unused(self, now_s: int) -> list[str]:
        """Drop the rows and blob files; returns the layers' directories, moved aside, to be removed."""
        with step("store.free"), self.database.write() as connection:
            layer_ids = [row[0] for row in connection.execute(_UNUSED_LAYERS, (now_s,)).fetchall()]
            gone = [self.layers.remove(connection, layer_id) for layer_id in layer_ids]
            for (digest,) in connection.execute(_UNUSED_BLOBS, (now_s,)).fetchall():
                self.blobs.remove(connection, parse_digest(digest))
        return gone

    def _tidy(self) -> None:
        self._durability.forget_doubtful()
        self.layers.collect_stale()
        self.snapshots.collect_stale()
        self.blobs.collect_stale()
        self.collect()
        self._durability.begin()

    def sync(self) -> None:
        """Begin to put what is new on disk for good; `close` waits for it."""
        self._durability.begin()
