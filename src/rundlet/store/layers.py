"""Unpacked layers, each a directory that overlayfs stacks, found by chain id."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from sqlite3 import Connection
from typing import NamedTuple

from rundlet.archive.tree import make_root, remove_tree
from rundlet.kernel.failure import translating
from rundlet.spec.json import encode_pretty
from rundlet.store.database import Database
from rundlet.store.locks import Locks, Patience
from rundlet.store.schema import compute_kept_until_s

# overlayfs refuses more (OVL_MAX_STACK).
STACK_MAX = 500


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
        return self._locks.hold(f"layer-{_hex(chain_id)}", patience)

    def find(self, chain_id: str) -> LayerRecord | None:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT id, chain_id, diff_id, blob_digest, size_bytes, inodes FROM layers WHERE chain_id = ?",
                (chain_id,),
            ).fetchone()
        if row is None or not os.path.isdir(self.path(row[0])):
            return None
        return LayerRecord(*row)

    @contextmanager
    def unpack_dir(self, chain_id: str) -> Iterator[str]:
        """An empty directory to unpack `chain_id` into, removed unless the block publishes it.

        The caller holds `lock`, so one that is there already was left by a process that died.
        """
        path = os.path.join(self._root, f"tmp-{_hex(chain_id)}")
        try:
            with translating(f"layer {chain_id}"):
                remove_tree(path)
                make_root(path)
            yield path
        finally:
            remove_tree(path)

    def publish(self, path: str, layer: NewLayer) -> int:
        """Give the unpacked directory its place and row, both or none; returns the layer's row id.

        A row whose directory has been lost gets this one.
        """
        with translating(f"layer {layer.chain_id}"):
            with self._database.write() as connection:
                rows = connection.execute(
                    "INSERT INTO layers"
                    " (chain_id, diff_id, blob_digest, size_bytes, inodes, boot_id, kept_until_s)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (chain_id) DO UPDATE SET"
                    " size_bytes = excluded.size_bytes, inodes = excluded.inodes, boot_id = excluded.boot_id"
                    " RETURNING id",
                    (*layer, self._boot_id, compute_kept_until_s()),
                ).fetchall()
                layer_id: int = rows[0][0]
                aside = self._move_away(layer_id)  # left by a process that died before its commit
                with open(f"{self.path(layer_id)}.json", "wb") as file:
                    file.write(encode_pretty(layer._asdict()))
                os.rename(path, self.path(layer_id))
            remove_tree(aside)
        return layer_id

    def stack(self, layer_ids: Sequence[int]) -> tuple[str, ...]:
        """The directories of `layer_ids` (bottom first), top first as overlayfs takes them."""
        return tuple(self.path(layer_id) for layer_id in reversed(layer_ids))

    def remove(self, connection: Connection, layer_id: int) -> str:
        """Drop the row and move the directory away, inside the caller's transaction.

        Returns the path that is left to `remove_tree` after the commit.
        """
        connection.execute("DELETE FROM layers WHERE id = ?", (layer_id,))
        return self._move_away(layer_id)

    def _move_away(self, layer_id: int) -> str:
        aside = os.path.join(self._root, f"tmp-gone-{layer_id}-{secrets.token_hex(4)}")
        try:
            os.rename(self.path(layer_id), aside)
        except FileNotFoundError:
            pass
        try:
            os.unlink(f"{self.path(layer_id)}.json")
        except FileNotFoundError:
            pass
        return aside

    def collect_stale(self) -> None:
        """Remove what processes that died have left: half-made directories and those without a row."""
        names = os.listdir(self._root)
        for name in names:
            if name.startswith("tmp-gone-"):
                remove_tree(f"{self._root}/{name}")
            elif name.startswith("tmp-"):
                with self._locks.try_hold(f"layer-{name.removeprefix('tmp-')}") as held:
                    if held:
                        remove_tree(f"{self._root}/{name}")
        self._collect_unknown({int(name) for name in names if name.isdigit()})

    def _collect_unknown(self, found: set[int]) -> None:
        with self._database.read() as connection:
            known = {row[0] for row in connection.execute("SELECT id FROM layers")}
        if found <= known:
            return
        with self._database.write() as connection:  # excludes whoever is publishing right now
            known = {row[0] for row in connection.execute("SELECT id FROM layers")}
            gone = [self._move_away(layer_id) for layer_id in found - known]
        for path in gone:
            remove_tree(path)


def _hex(chain_id: str) -> str:
    return chain_id.partition(":")[2]
