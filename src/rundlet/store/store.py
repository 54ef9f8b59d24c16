"""The store: opening it, what it uses of the disk, and freeing what nothing needs."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

from rundlet.errors import DataLoss
from rundlet.kernel.failure import translating
from rundlet.kernel.sync import read_boot_id
from rundlet.spec.digest import Digest, parse_digest
from rundlet.step import step
from rundlet.store.additional import borrow_all
from rundlet.store.blobs import Blobs
from rundlet.store.database import Database
from rundlet.store.durability import Durability
from rundlet.store.images import Images
from rundlet.store.layers import Layers
from rundlet.store.locks import Locks, Patience
from rundlet.store.notes import unlink_if_there
from rundlet.store.schema import SCHEMA
from rundlet.store.shifted import ShiftedLayers
from rundlet.store.snapshots import Snapshots
from rundlet.store.sweeper import Sweeper

# Under the root of images, and under that of everything else.
_IMAGE_DIRECTORIES: Final = ("blobs/sha256", "ingest", "layers", "images")
_DIRECTORIES: Final = ("snapshots", "shifted")
# Held shared by whoever brings content that no image names yet, exclusively by who frees content.
_CONTENT_LOCK: Final = "content"

_OWN_LAYERS: Final = "FROM layers WHERE id NOT IN (SELECT layer_id FROM borrowed_layers)"
_OWN_BLOBS: Final = "FROM blobs WHERE digest NOT IN (SELECT digest FROM borrowed_blobs)"
_UNUSED_LAYERS: Final = (
    "SELECT id FROM layers WHERE kept_until_s < ? AND id NOT IN (SELECT layer_id FROM image_layers)"
    " AND id NOT IN (SELECT layer_id FROM snapshot_layers)"
)
_UNUSED_BLOBS: Final = (
    "SELECT digest FROM blobs WHERE kept_until_s < ? AND digest NOT IN (SELECT digest FROM image_blobs)"
)


class Places(NamedTuple):
    """Where a store lies: all paths absolute.

    `images` is where blobs and layers are kept, "" for `root`; `additional` are the roots of
    read-only stores whose images are used as they are; `run` (locks) is gone after a reboot.
    """

    root: str
    run: str
    images: str = ""
    additional: tuple[str, ...] = ()

    @property
    def image_root(self) -> str:
        return self.images or self.root


class Store:
    """One store on disk (see `schema`); any number of threads and processes use it at once."""

    def __init__(
        self,
        places: Places,
        schema: Sequence[str] = (),
        pinned: Sequence[str] = (),
        database: str = "state.db",
    ) -> None:
        self.places = places
        self.root = places.root
        boot_id = read_boot_id()
        self.locks = Locks(places.run)
        self.database = Database(f"{places.root}/{database}", (*SCHEMA, *schema))
        self.blobs = Blobs(places.image_root, self.database, self.locks, boot_id)
        self.layers = Layers(places.image_root, self.database, self.locks, boot_id)
        self.images = Images(places.image_root, self.database, self.blobs, self.collect, pinned)
        self._sweeper = Sweeper()
        self.shifted = ShiftedLayers(
            places.root, self.database, self.layers, self.locks, self._sweeper, boot_id
        )
        self.snapshots = Snapshots(places.root, self.database, self.layers, self.locks, self.shifted.collect)
        self._durability = Durability(
            tuple(dict.fromkeys((places.image_root, places.root))), self.database, boot_id
        )

    @classmethod
    def open(
        cls,
        root: str,
        run_root: str,
        schema: Sequence[str] = (),
        *,
        image_root: str = "",
        additional_roots: Sequence[str] = (),
        pinned: Sequence[str] = (),
    ) -> Self:
        """The store at `root`, made when missing, tidied of what processes that died have left.

        See `Places` for the paths; `schema` are further tables for the same database; `pinned` as in
        `Images`.  Raises PermissionDenied, ResourceExhausted, DataLoss (database damaged or lost).
        """
        places = Places(
            os.path.abspath(root),
            os.path.abspath(run_root),
            os.path.abspath(image_root) if image_root else "",
            tuple(map(os.path.abspath, additional_roots)),
        )
        with translating(f"store {places.root}"):
            store = cls.open_untidied(places, schema, pinned)
            store.tidy()
        return store

    @classmethod
    def open_untidied(cls, places: Places, schema: Sequence[str] = (), pinned: Sequence[str] = ()) -> Self:
        """The store as it lies there, for who looks for damage."""
        with translating(f"store {places.root}"):
            for directory in list_directories(places):
                os.makedirs(directory, mode=0o700, exist_ok=True)
        if is_database_lost(places):
            raise DataLoss(
                f"store {places.root} has content, but its state.db is lost",
                hint="`rundlet image repair` makes it anew from what is there",
            )
        return cls(places, schema, pinned)

    def close(self) -> None:
        """Wait until what was pulled is on disk and what was removed is off it, and close the database."""
        self._sweeper.join()
        self._durability.join()
        self.database.close()

    def flush(self) -> None:
        """Wait until what was pulled or named is on disk for good."""
        self._durability.begin()
        self._durability.join()

    def settle(self) -> None:
        """Wait until the files of what was removed are gone."""
        self._sweeper.join()

    def reload(self, additional_roots: Sequence[str], pinned: Sequence[str]) -> None:
        """Take up other additional stores, let go of those not named any more, and pin by other names.

        Errors as `borrow_all`; then nothing has changed.
        """
        roots = tuple(map(os.path.abspath, additional_roots))
        with translating(f"store {self.root}"):
            borrow_all(self.database, self.places.image_root, roots)
            self.places = self.places._replace(additional=roots)
            self.images.repin(pinned)
            self.images.collect_stale()
            self.collect()

    def usage(self) -> tuple[int, int]:
        """(bytes, inodes) that images take here: own layers and blobs, summed from what is recorded."""
        with self.database.read() as connection:
            row = connection.execute(
                f"SELECT (SELECT coalesce(sum(size_bytes), 0) {_OWN_LAYERS})"
                f" + (SELECT coalesce(sum(size_bytes), 0) {_OWN_BLOBS}),"
                f" (SELECT coalesce(sum(inodes), 0) {_OWN_LAYERS}) + (SELECT count(*) {_OWN_BLOBS})"
            ).fetchone()
        return (row[0], row[1])

    @contextmanager
    def holding(self, patience: Patience) -> Iterator[None]:
        """While the block runs nothing is freed; others may bring more."""
        with self.locks.hold(_CONTENT_LOCK, patience, shared=True):
            yield

    @contextmanager
    def bringing(self, patience: Patience) -> Iterator[None]:
        """While the block runs nothing is freed: it brings content that no image names yet."""
        try:
            with self.holding(patience):
                yield
        except BaseException:
            self.collect()
            self.settle()  # a disk that was too small has its room again when the failure is told
            raise
        self.collect()

    def is_bringing(self) -> bool:
        """Whether somebody is bringing content, or freeing it, right now."""
        with self.locks.try_hold(_CONTENT_LOCK) as held:
            return not held

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

    def forget_unfinished(self) -> None:
        """Let go of what pulls that were cut off have brought; not while any pull is under way."""
        with self.locks.try_hold(_CONTENT_LOCK) as held, self.database.write() as connection:
            if held:
                connection.execute("UPDATE layers SET kept_until_s = 0")
                connection.execute("UPDATE blobs SET kept_until_s = 0")
        self.collect()

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
        with translating("free unused content"), self.locks.try_hold(_CONTENT_LOCK) as held:
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

    def tidy(self) -> None:
        """Remove and let go of what processes that died, and earlier boots, have left."""
        self._durability.forget_doubtful()
        self.layers.collect_stale()
        self.snapshots.collect_stale()
        self.shifted.collect_stale()
        self.blobs.collect_stale()
        self._discard_drafts()
        borrow_all(self.database, self.places.image_root, self.places.additional)
        self.images.collect_stale()
        self.collect()
        self._durability.begin_if_new()

    def _discard_drafts(self) -> None:
        """Drafts have no name that anybody could go on with."""
        drafts = self.blobs.list_drafts()
        if drafts:
            with self.locks.try_hold(_CONTENT_LOCK) as held:
                for path in drafts if held else ():
                    unlink_if_there(path)

    def sync(self) -> None:
        """Begin to put what is new on disk for good; `flush` and `close` wait for it."""
        self._durability.begin()


def list_directories(places: Places) -> list[str]:
    """The directories that a store has from its beginning."""
    return [
        places.root,
        places.run,
        *(f"{places.root}/{name}" for name in _DIRECTORIES),
        *(f"{places.image_root}/{name}" for name in _IMAGE_DIRECTORIES),
    ]


def is_database_lost(places: Places) -> bool:
    """Whether there is content, but no database that knows of it."""
    path = f"{places.root}/state.db"
    if os.path.exists(path) and os.path.getsize(path):
        return False
    kept = [f"{places.image_root}/{name}" for name in ("blobs/sha256", "layers", "images")]
    return any(os.path.isdir(path) and os.listdir(path) for path in (*kept, f"{places.root}/snapshots"))
