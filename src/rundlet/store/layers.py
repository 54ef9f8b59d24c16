"""Unpacked layers, each a directory that overlayfs stacks, found by chain id."""

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from sqlite3 import Connection
from typing import NamedTuple

from rundlet.archive.listing import known_checksum, list_tree
from rundlet.archive.tree import make_root, remove_tree
from rundlet.errors import NotFound
from rundlet.kernel.failure import translating
from rundlet.step import step
from rundlet.store.database import Database
from rundlet.store.listing import write_listing
from rundlet.store.locks import Locks, Patience
from rundlet.store.notes import (
    LayerNote,
    is_half_note,
    remove_half_notes,
    unlink_if_there,
    write_note,
)
from rundlet.store.schema import compute_kept_until_s

# overlayfs refuses more (OVL_MAX_STACK).
STACK_MAX = 500
KEPT_PREFIX = "kept-"
_HALF_PREFIX = "tmp-"
_GONE_PREFIX = "tmp-gone-"


class LayerRecord(NamedTuple):
    """`size_bytes` and `inodes` are those of the unpacked directory."""

    id: int
    chain_id: str
    diff_id: str
    blob_digest: str
    size_bytes: int
    inodes: int


class NewLayer(NamedTuple):
    """A layer that has been unpacked and verified but is not published yet."""

    chain_id: str
    diff_id: str
    blob_digest: str
    size_bytes: int
    inodes: int


class Layers:
    def __init__(self, root: str, database: Database, locks: Locks, boot_id: str) -> None:
        self._root = f"{root}/layers"
        self._database = database
        self._locks = locks
        self._boot_id = boot_id

    def path(self, layer_id: int) -> str:
        return f"{self._root}/{layer_id}"

    def lock(self, chain_id: str, patience: Patience) -> AbstractContextManager[None]:
        """The right to make the layer `chain_id`, among all threads and processes."""
        return self._locks.hold(_lock_name(_hex(chain_id)), patience)

    def find(self, chain_id: str) -> LayerRecord | None:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT id, chain_id, diff_id, blob_digest, size_bytes, inodes FROM layers WHERE chain_id = ?",
                (chain_id,),
            ).fetchone()
        if row is None or not os.path.isdir(self.path(row[0])):
            return None
        return LayerRecord(*row)

    def load(self, connection: Connection, layer_id: int) -> LayerRecord:
        """What the row of a layer says, whether or not its directory is there.  Raises NotFound."""
        row = connection.execute(
            "SELECT id, chain_id, diff_id, blob_digest, size_bytes, inodes FROM layers WHERE id = ?",
            (layer_id,),
        ).fetchone()
        if row is None:
            raise NotFound(f"there is no layer {layer_id}")
        return LayerRecord(*row)

    def adopt(self, connection: Connection, layer_id: int, note: LayerNote) -> bool:
        """Give a whole directory its row back; False when another directory holds the same layer."""
        added = connection.execute(
            "INSERT OR IGNORE INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                layer_id,
                note.chain_id,
                note.diff_id,
                note.blob_digest,
                note.size_bytes,
                note.inodes,
                self._boot_id,
                compute_kept_until_s(),
            ),
        )
        return added.rowcount > 0

    @contextmanager
    def unpack_dir(self, chain_id: str) -> Iterator[str]:
        """An empty directory to unpack `chain_id` into, removed unless the block publishes it.

        The caller holds `lock`, so one that is there already was left by a process that died.
        """
        path = os.path.join(self._root, f"{_HALF_PREFIX}{_hex(chain_id)}")
        try:
            with translating(f"layer {chain_id}"):
                remove_tree(path)
                make_root(path)
            yield path
        finally:
            remove_tree(path)

    def publish(self, path: str, layer: NewLayer, checksums: Mapping[int, int | None] | None = None) -> int:
        """Give the unpacked directory its place and row, both or none; returns the layer's row id.

        `checksums` are the CRC-32 of its files by inode, as whoever wrote them knows; what is not
        there is read.  A row whose directory has been lost, or has been damaged, gets this one.
        """
        listing = f"{path}.list"
        with translating(f"layer {layer.chain_id}"):
            try:
                digest = write_listing(listing, list_tree(path, known_checksum(checksums or {})))
                with self._database.write() as connection:
                    layer_id = self._insert(connection, layer)
                    aside = self.move_away(connection, layer_id)
                    write_note(f"{self.path(layer_id)}.json", LayerNote(*layer, listing=digest))
                    with step("layer.listing"):
                        os.rename(listing, f"{self.path(layer_id)}.list")
                    with step("layer.rename"):
                        os.rename(path, self.path(layer_id))
            finally:
                unlink_if_there(listing)
            if not is_kept(aside):
                remove_tree(aside)
        return layer_id

    def _insert(self, connection: Connection, layer: NewLayer) -> int:
        rows = connection.execute(
            "INSERT INTO layers"
            " (chain_id, diff_id, blob_digest, size_bytes, inodes, boot_id, kept_until_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (chain_id) DO UPDATE SET"
            " size_bytes = excluded.size_bytes, inodes = excluded.inodes, boot_id = excluded.boot_id"
            " RETURNING id",
            (*layer, self._boot_id, compute_kept_until_s()),
        ).fetchall()
        layer_id: int = rows[0][0]
        connection.execute("DELETE FROM borrowed_layers WHERE layer_id = ?", (layer_id,))
        return layer_id

    def stack(self, layer_ids: Sequence[int]) -> tuple[str, ...]:
        """The directories of `layer_ids` (bottom first), top first as overlayfs takes them."""
        return tuple(self.path(layer_id) for layer_id in reversed(layer_ids))

    def remove(self, connection: Connection, layer_id: int) -> str:
        """Drop the row and move the directory away, inside the caller's transaction.

        Returns the path that is left to `remove_tree` after the commit.
        """
        connection.execute("DELETE FROM layers WHERE id = ?", (layer_id,))
        return self.move_away(connection, layer_id)

    def move_away(self, connection: Connection, layer_id: int) -> str:
        """Take the layer's directory out of its place; returns where it is, for `remove_tree`.

        One that snapshots stand on may be mounted: it goes to a place that `is_kept`, and
        stays until no snapshot uses the layer any more.
        """
        used = connection.execute("SELECT 1 FROM snapshot_layers WHERE layer_id = ?", (layer_id,)).fetchone()
        prefix = KEPT_PREFIX if used else _GONE_PREFIX
        aside = os.path.join(self._root, f"{prefix}{layer_id}-{secrets.token_hex(4)}")
        unlink_if_there(f"{self.path(layer_id)}.json")
        unlink_if_there(f"{self.path(layer_id)}.list")
        if os.path.islink(self.path(layer_id)):
            unlink_if_there(self.path(layer_id))
            return aside
        with step("layer.move-away"):
            try:
                os.rename(self.path(layer_id), aside)
            except FileNotFoundError:
                pass
        return aside

    def collect_stale(self) -> None:
        """Remove what processes that died have left: half-made directories and those without a row."""
        names = os.listdir(self._root)
        for name in names:
            path = f"{self._root}/{name}"
            if name.startswith(_GONE_PREFIX):
                remove_tree(path)
            elif name.startswith(_HALF_PREFIX) and not is_half_note(name):
                self._remove_half_made(name)
            elif is_kept(path):
                self._remove_unless_used(path)
        self._collect_unknown({row_id_of(name) for name in names} - {0})

    def is_being_made(self, name: str) -> bool:
        """Whether somebody is at work on the file or directory `name` of `layers/`."""
        with self._locks.try_hold(_lock_name(name)) as held:
            return not held

    def _remove_half_made(self, name: str) -> None:
        with self._locks.try_hold(_lock_name(name)) as held:
            if held and name.endswith(".list"):
                unlink_if_there(f"{self._root}/{name}")
            elif held:
                remove_tree(f"{self._root}/{name}")

    def _remove_unless_used(self, path: str) -> None:
        layer_id = os.path.basename(path).removeprefix(KEPT_PREFIX).partition("-")[0]
        with self._database.read() as connection:
            used = connection.execute(
                "SELECT 1 FROM snapshot_layers WHERE layer_id = ?", (layer_id,)
            ).fetchone()
        if not used:
            remove_tree(path)

    def _collect_unknown(self, found: set[int]) -> None:
        with self._database.read() as connection:
            known = {row[0] for row in connection.execute("SELECT id FROM layers")}
        if found <= known and not any(map(is_half_note, os.listdir(self._root))):
            return
        with self._database.write() as connection:  # excludes whoever is publishing right now
            known = {row[0] for row in connection.execute("SELECT id FROM layers")}
            gone = [self.move_away(connection, layer_id) for layer_id in found - known]
            remove_half_notes(self._root)
        for path in gone:
            remove_tree(path)


def is_kept(path: str) -> bool:
    """Whether `path` is a damaged layer's old directory, which a mount may still show."""
    return os.path.basename(path).startswith(KEPT_PREFIX)


def is_leaving(name: str) -> bool:
    """Whether the file or directory `name` is on its way out; some process is removing it, or the next will."""
    return name.startswith((_GONE_PREFIX, "tmp-note-"))


def row_id_of(name: str) -> int:
    """The layer that a file of `layers/` belongs to by its name; 0 when it is none's."""
    stem = name.removesuffix(".json").removesuffix(".list")
    return int(stem) if stem.isascii() and stem.isdigit() else 0


def _lock_name(name: str) -> str:
    """The lock of who makes what is called `name` meanwhile."""
    return f"layer-{name.removeprefix(_HALF_PREFIX).removesuffix('.list')}"


def _hex(chain_id: str) -> str:
    return chain_id.partition(":")[2]
