"""Make a lost or damaged state.db anew from all that is left.

state.db                  what SQLite can still read of it, row by row, other rooms' tables as well
layers/<n>.json           the layers
blobs/                    what is what its digest says
images/*.json             the images and their names; without a note, any manifest among the blobs
                          whose config and layers are here makes an image without a name
snapshots/*/note.json     the snapshots

state.db.new ─ filled ─ synced ─► state.db          the old one stays as state.db.damaged-<time>
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from sqlite3 import Connection
from typing import Final

from rundlet.errors import Error, FailedPrecondition
from rundlet.kernel.failure import translating
from rundlet.spec.digest import parse_digest
from rundlet.spec.manifest import Manifest, parse_manifest
from rundlet.step import step
from rundlet.store.check import hash_file
from rundlet.store.checkimages import find_references
from rundlet.store.database import DONE_TABLE
from rundlet.store.images import image_id_of
from rundlet.store.layers import row_id_of
from rundlet.store.notes import ImageNote, LayerNote, SnapshotNote, read_note, unlink_if_there
from rundlet.store.store import Places, Store

_NEW: Final = "state.db.new"
_PARTS: Final = ("-wal", "-shm", "")  # of a database in WAL mode, itself last
_MANIFEST_BYTES_MAX: Final = 4 << 20


def rebuild_database(places: Places) -> None:
    """Put a new database in the place of the damaged or lost one.

    Raises FailedPrecondition while another process has the old one open, ResourceExhausted.
    """
    path = f"{places.root}/state.db"
    with translating(f"rebuild {path}"):
        _refuse_while_open(path)
        for part in _PARTS:
            unlink_if_there(f"{places.root}/{_NEW}{part}")
        store = Store(places, database=_NEW)
        with store.database.write() as connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            _salvage(path, connection)
            _take_in_blobs(store, connection)
            _take_in_layers(store, connection)
            _take_in_images(store, connection)
            _take_in_snapshots(store, connection)
            drop_dangling(connection)
        store.close()
        _swap(places.root)


def recount(store: Store, connection: Connection, image_id: str) -> None:
    """Count for an image what its manifest and config name and is here.

    Raises NotFound and DataLoss when a document is not here.  A layer that is missing is left out.
    """
    (manifest_digest,) = connection.execute(
        "SELECT manifest_digest FROM images WHERE id = ?", (image_id,)
    ).fetchone()
    wanted = find_references(store, image_id, manifest_digest)
    connection.execute("DELETE FROM image_layers WHERE image_id = ?", (image_id,))
    connection.executemany(
        "INSERT INTO image_layers SELECT ?, ?, id FROM layers WHERE chain_id = ?",
        [(image_id, position, chain_id) for position, chain_id in enumerate(wanted.chain_ids)],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO image_blobs SELECT ?, digest FROM blobs WHERE digest = ?",
        [(image_id, digest) for digest in wanted.blobs],
    )
    for statement in (
        "UPDATE layers SET kept_until_s = 0 WHERE id IN (SELECT layer_id FROM image_layers WHERE image_id = ?)",
        "UPDATE blobs SET kept_until_s = 0 WHERE digest IN (SELECT digest FROM image_blobs WHERE image_id = ?)",
    ):
        connection.execute(statement, (image_id,))


def drop_dangling(connection: Connection, table: str = "") -> None:
    """Delete the rows, of one table or of all, that point at what is not there."""
    for name, row_id, _, _ in connection.execute("PRAGMA foreign_key_check").fetchall():
        if row_id is not None and table in {"", name}:
            connection.execute(f'DELETE FROM "{name}" WHERE rowid = ?', (row_id,))  # noqa: S608  from SQLite
    for name, column, target in (  # these have no rowid
        ("image_blobs", "image_id", "SELECT id FROM images"),
        ("image_blobs", "digest", "SELECT digest FROM blobs"),
        ("image_layers", "image_id", "SELECT id FROM images"),
        ("image_layers", "layer_id", "SELECT id FROM layers"),
        ("snapshot_layers", "key", "SELECT key FROM snapshots"),
        ("snapshot_layers", "layer_id", "SELECT id FROM layers"),
    ):
        if table in {"", name}:
            connection.execute(f"DELETE FROM {name} WHERE {column} NOT IN ({target})")  # noqa: S608  from above


def _refuse_while_open(path: str) -> None:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            targets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        except OSError:
            continue  # it has ended, or its files are not ours to see
        if path in targets:
            raise FailedPrecondition(
                f"process {pid} has {path} open", hint="stop rundletd first; containers go on"
            )


def _swap(root: str) -> None:
    """The old database's journal goes first: it must never be read into the new one."""
    aside = f"{root}/state.db.damaged-{int(time.time())}"
    fd = os.open(f"{root}/{_NEW}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with step("database.sync"):
            os.fsync(fd)
    finally:
        os.close(fd)
    for part in _PARTS:
        if os.path.exists(f"{root}/state.db{part}"):
            with step("database.move-away"):
                os.rename(f"{root}/state.db{part}", f"{aside}{part}")
    with step("database.rename"):
        os.rename(f"{root}/{_NEW}", f"{root}/state.db")


# --- what SQLite can still read ---------------------------------------------


def _salvage(path: str, into: Connection) -> None:
    if not os.path.exists(path):
        return
    with closing(sqlite3.connect(path)) as damaged:
        for name, statement in _read_rows(
            damaged, "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
        ):
            if name.startswith("sqlite_") or name == DONE_TABLE:
                continue
            try:
                if not into.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone():
                    into.execute(statement)
                _copy_rows(damaged, into, name)
            except sqlite3.Error:
                continue  # what cannot be read is lost


def _copy_rows(damaged: Connection, into: Connection, table: str) -> None:
    """From both ends, since reading ends at the first damaged page."""
    quoted = '"' + table.replace('"', '""') + '"'
    for order in ("ASC", "DESC"):
        for row in _read_rows(damaged, f"SELECT * FROM {quoted} ORDER BY 1 {order}"):  # noqa: S608
            marks = ", ".join("?" * len(row))
            into.execute(f"INSERT OR IGNORE INTO {quoted} VALUES ({marks})", row)  # noqa: S608


def _read_rows(damaged: Connection, query: str) -> Iterator[tuple[str, ...]]:
    try:
        yield from damaged.execute(query)
    except sqlite3.Error:
        return


# --- what lies on disk ------------------------------------------------------


def _take_in_blobs(store: Store, connection: Connection) -> None:
    top = f"{store.places.image_root}/blobs"
    for algorithm in os.listdir(top):
        for name in os.listdir(f"{top}/{algorithm}"):
            try:
                digest = parse_digest(f"{algorithm}:{name}")
            except Error:
                continue
            path = store.blobs.path(digest)
            if not os.path.islink(path) and hash_file(path, algorithm) == digest:
                store.blobs.insert(connection, digest, os.path.getsize(path))


def _take_in_layers(store: Store, connection: Connection) -> None:
    top = f"{store.places.image_root}/layers"
    for layer_id in sorted({row_id_of(name) for name in os.listdir(top)} - {0}):
        note = read_note(f"{top}/{layer_id}.json", LayerNote)
        if note is not None and os.path.isdir(f"{top}/{layer_id}"):
            store.layers.adopt(connection, layer_id, note)


def _take_in_images(store: Store, connection: Connection) -> None:
    top = f"{store.places.image_root}/images"
    for name in sorted(os.listdir(top)):
        note = read_note(f"{top}/{name}", ImageNote)
        if note is not None:
            _insert_image(store, connection, image_id_of(name), note)
    known = {row[0] for row in connection.execute("SELECT manifest_digest FROM images")}
    for digest, config in _find_manifests(store, connection):
        if digest not in known:
            _insert_image(store, connection, config, ImageNote(digest))


def _insert_image(store: Store, connection: Connection, image_id: str, note: ImageNote) -> None:
    """An image whose documents or layers are not here is none."""
    connection.execute(
        "INSERT OR IGNORE INTO images VALUES (?, ?, ?)", (image_id, note.manifest_digest, note.pinned)
    )
    for table, texts in (("image_names", note.names), ("image_digests", note.digests)):
        connection.executemany(
            f"INSERT OR IGNORE INTO {table} VALUES (?, ?)",  # noqa: S608  one of two
            [(text, image_id) for text in texts],
        )
    try:
        recount(store, connection, image_id)
    except Error:
        connection.execute("DELETE FROM images WHERE id = ?", (image_id,))
        return
    store.images.write_note(connection, image_id)


def _find_manifests(store: Store, connection: Connection) -> Iterator[tuple[str, str]]:
    """(digest, image id) of every image manifest among the blobs whose config and layers are here."""
    rows = connection.execute(
        "SELECT digest FROM blobs WHERE size_bytes < ?", (_MANIFEST_BYTES_MAX,)
    ).fetchall()
    chains = {row[0] for row in connection.execute("SELECT chain_id FROM layers")}
    for (digest,) in rows:
        try:
            manifest = parse_manifest(store.blobs.read(parse_digest(digest)), what=digest)
            if isinstance(manifest, Manifest):
                config = manifest.config.digest
                if set(find_references(store, config, digest).chain_ids) <= chains:
                    yield digest, config
        except Error:
            continue  # no manifest, or one whose config is not here


def _take_in_snapshots(store: Store, connection: Connection) -> None:
    for key in sorted(os.listdir(f"{store.root}/snapshots")):
        note = read_note(store.snapshots.note_path(key), SnapshotNote)
        if note is None or key.startswith("tmp-"):
            continue
        connection.execute("INSERT OR IGNORE INTO snapshots VALUES (?, ?)", (key, note.image_id))
        connection.executemany(
            "INSERT OR IGNORE INTO snapshot_layers VALUES (?, ?, ?)",
            [(key, position, layer_id) for position, layer_id in enumerate(note.layers)],
        )
