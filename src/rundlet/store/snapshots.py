"""Snapshots: a container's writable layer over an image's layers.  Mounting is not done here."""

import os
import re
from collections.abc import Callable
from sqlite3 import Connection, IntegrityError
from typing import Final, NamedTuple

from rundlet.archive.tree import make_root, remove_tree
from rundlet.errors import AlreadyExists, InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.step import step
from rundlet.store.database import Database
from rundlet.store.layers import Layers
from rundlet.store.locks import Locks, Patience
from rundlet.store.notes import SnapshotNote, write_note

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_BLOCK_BYTES: Final = 512  # the unit of st_blocks


class Snapshot(NamedTuple):
    """Directories for one overlay mount; `lower` is top first."""

    key: str
    lower: tuple[str, ...]
    upper: str
    work: str


class Snapshots:
    """`on_removed` is called when one is gone: what was there for it alone can go too."""

    def __init__(
        self, root: str, database: Database, layers: Layers, locks: Locks, on_removed: Callable[[], None]
    ) -> None:
        self._root = f"{root}/snapshots"
        self._database = database
        self._layers = layers
        self._locks = locks
        self._on_removed = on_removed

    def prepare(self, key: str, image_id: str) -> Snapshot:
        """A new snapshot of the image `image_id`, whose layers stay as long as it does.

        Raises NotFound, AlreadyExists, InvalidArgument (key), ResourceExhausted.
        """
        if not _KEY.fullmatch(key):
            raise InvalidArgument(f"snapshot key {key!r} is malformed")
        with translating(f"snapshot {key}"), self._database.write() as connection:
            layer_ids = _insert(connection, key, image_id)
            snapshot = self._describe(key, layer_ids)
            try:
                with step("snapshot.directories", key):
                    _make_directories(snapshot)
                write_note(self.note_path(key), SnapshotNote(image_id, tuple(layer_ids)))
            except BaseException:
                remove_tree(f"{self._root}/{key}")
                raise
        return snapshot

    def foresee(self, key: str, image_id: str) -> Snapshot:
        """What `prepare` would answer; nothing is made."""
        with self._database.read() as connection:
            return self._describe(key, _list_layers(connection, image_id))

    def find(self, key: str) -> Snapshot | None:
        with self._database.read() as connection:
            if not connection.execute("SELECT 1 FROM snapshots WHERE key = ?", (key,)).fetchone():
                return None
            rows = connection.execute(
                "SELECT layer_id FROM snapshot_layers WHERE key = ? ORDER BY position", (key,)
            )
            return self._describe(key, [row[0] for row in rows])

    def note_path(self, key: str) -> str:
        return f"{self._root}/{key}/note.json"

    def remove(self, key: str) -> None:
        """Remove the snapshot and all it holds; it is not mounted.  Nothing happens when it is gone.

        A call after one that failed finishes what that one has left; killed on the way, the
        directory is without a row, and the next opening removes it.
        """
        with translating(f"snapshot {key}"), self._locks.hold(_lock_name(key), Patience()):
            with self._database.write() as connection:
                connection.execute("DELETE FROM snapshots WHERE key = ?", (key,))
            aside = self._move_away(key)
            with step("snapshot.remove", key):
                remove_tree(aside)
        self._on_removed()

    def is_leaving(self, key: str) -> bool:
        """Whether somebody is removing the snapshot right now."""
        with self._locks.try_hold(_lock_name(key)) as held:
            return not held

    def _move_away(self, key: str) -> str:
        """Take the directory out of its place, unless the key has come to be used anew."""
        aside = os.path.join(self._root, f"tmp-{key}")
        with self._database.write() as connection:
            used = connection.execute("SELECT 1 FROM snapshots WHERE key = ?", (key,)).fetchone()
            if not used and os.path.exists(f"{self._root}/{key}"):
                remove_tree(aside)  # left by a call that failed
                with step("snapshot.move-away", key):
                    os.rename(f"{self._root}/{key}", aside)
        return aside

    def usage(self, key: str) -> tuple[int, int]:
        """(bytes on disk, inodes) of what the container has written; (0, 0) when there is no such snapshot."""
        return _measure(f"{self._root}/{key}/upper")

    def total_usage(self) -> tuple[int, int]:
        """The same of all snapshots together."""
        return _measure(self._root)

    def collect_stale(self) -> None:
        """Remove what processes that died have left: directories on their way out or without a row."""
        names = set(os.listdir(self._root))
        for name in names:
            if name.startswith("tmp-"):
                remove_tree(f"{self._root}/{name}")
        with self._database.read() as connection:
            known = {row[0] for row in connection.execute("SELECT key FROM snapshots")}
        unknown = {name for name in names if not name.startswith("tmp-")} - known
        if not unknown:
            return
        with self._database.write() as connection:  # excludes whoever is preparing right now
            known = {row[0] for row in connection.execute("SELECT key FROM snapshots")}
            for name in unknown - known:
                remove_tree(f"{self._root}/{name}")

    def _describe(self, key: str, layer_ids: list[int]) -> Snapshot:
        directory = f"{self._root}/{key}"
        return Snapshot(key, self._layers.stack(layer_ids), f"{directory}/upper", f"{directory}/work")


def _lock_name(key: str) -> str:
    return f"snapshot-{key}"


def _insert(connection: Connection, key: str, image_id: str) -> list[int]:
    """The rows of a new snapshot; returns its layers, bottom first."""
    if not connection.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone():
        raise NotFound(f"image {image_id} is not here")
    try:
        connection.execute("INSERT INTO snapshots VALUES (?, ?)", (key, image_id))
    except IntegrityError as error:
        raise AlreadyExists(f"snapshot {key} exists already") from error
    connection.execute(
        "INSERT INTO snapshot_layers SELECT ?, position, layer_id FROM image_layers WHERE image_id = ?",
        (key, image_id),
    )
    return _list_layers(connection, image_id)


def _list_layers(connection: Connection, image_id: str) -> list[int]:
    """Bottom first."""
    rows = connection.execute(
        "SELECT layer_id FROM image_layers WHERE image_id = ? ORDER BY position", (image_id,)
    )
    return [row[0] for row in rows]


def _make_directories(snapshot: Snapshot) -> None:
    """Upper looks as the image's root does: overlayfs shows the root directory of the topmost layer."""
    remove_tree(os.path.dirname(snapshot.upper))  # left by a process that died before its commit
    os.makedirs(snapshot.work, mode=0o700)
    make_root(snapshot.upper)
    if snapshot.lower:
        status = os.stat(snapshot.lower[0])
        os.chown(snapshot.upper, status.st_uid, status.st_gid)
        os.chmod(snapshot.upper, status.st_mode & 0o7777)


def _measure(path: str) -> tuple[int, int]:
    """(bytes on disk, inodes) of all below `path`; what vanishes meanwhile does not count."""
    blocks_by_inode: dict[int, int] = {}  # a file with several links counts once
    pending = [path]
    while pending:
        for entry in _list_directory(pending.pop()):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            blocks_by_inode[status.st_ino] = status.st_blocks
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return sum(blocks_by_inode.values()) * _BLOCK_BYTES, len(blocks_by_inode)


def _list_directory(path: str) -> list[os.DirEntry[str]]:
    """What `path` holds; nothing when it has vanished or its path is too long to be opened."""
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError:
        return []
