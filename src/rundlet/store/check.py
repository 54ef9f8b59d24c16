"""Look for damage: what the database says, what lies on disk, and whether they agree.

    quick       rows, references, names of files, and what lstat(2) tells of every path of every layer
    read_data   as well the content of every file of every layer, and of every blob

Pulls and containers go on meanwhile; nothing is freed until the check has ended.
"""

import os
from collections.abc import Collection, Iterator
from itertools import zip_longest
from sqlite3 import Connection
from typing import Final, NamedTuple

from rundlet.archive.listing import (
    Checksum,
    list_tree,
    path_of,
    read_checksum,
    skip_checksum,
    without_checksum,
)
from rundlet.errors import DataLoss, Error, Internal, NotFound
from rundlet.kernel.failure import translating
from rundlet.spec.digest import Digest, digest_hasher, parse_digest
from rundlet.store.checkimages import check_images
from rundlet.store.findings import Finding
from rundlet.store.layers import is_kept, is_leaving, row_id_of
from rundlet.store.listing import read_listing
from rundlet.store.locks import Patience
from rundlet.store.notes import LayerNote, SnapshotNote, read_note
from rundlet.store.store import Places, Store, is_database_lost

_READ_BYTES: Final = 1 << 20
_NAMED_PATHS: Final = 3  # as many of a changed layer's paths are named


class _Layer(NamedTuple):
    """A layer's row, as its note says it as well."""

    id: int
    note: LayerNote
    lender: str


def check_places(places: Places, *, read_data: bool = False) -> tuple[Finding, ...]:
    """All faults of the store at `places`; its database may be lost or damaged.

    Raises NotFound when there is no store, PermissionDenied.
    """
    database = f"{places.root}/state.db"
    with translating(f"store {places.root}"):
        if is_database_lost(places):
            return (Finding("database-lost", database),)
        try:
            os.stat(database)
        except (FileNotFoundError, NotADirectoryError) as error:  # nor content: opening it would make a store
            raise NotFound(
                f"there is no store at {places.root}", hint="name its directory with --root"
            ) from error
    try:
        store = Store.open_untidied(places)
        try:
            return check_store(store, read_data=read_data)
        finally:
            store.close()
    except (DataLoss, Internal) as error:  # "unsupported file format" has no code of its own
        return (Finding("database-damaged", database, error.message),)


def check_store(
    store: Store, *, read_data: bool = False, patience: Patience | None = None
) -> tuple[Finding, ...]:
    """All faults of an open store.  Raises DataLoss when its database cannot be read."""
    with translating(f"check {store.root}"):
        dead = _find_dead_drafts(store)
    with translating(f"check {store.root}"), store.holding(patience or Patience()):
        with store.database.write() as connection:  # nobody publishes meanwhile
            found = [*_check_rows(connection)]
            if found:  # what the rows say is worth nothing
                return tuple(found)
            found += _check_blobs(store, connection)
            layers = _load_layers(connection)
            found += _check_layers(store, layers)
            found += check_images(store, connection)
            found += _check_snapshots(store, connection)
        missing = {finding.subject for finding in found if finding.kind == "layer-missing"}
        for layer in layers:
            if not layer.lender and str(layer.id) not in missing:
                found += check_tree(store, layer.id, read_data=read_data)
        if read_data:
            lost = {finding.subject for finding in found}
            found += _check_content(store, lost)
    return tuple(dict.fromkeys((*found, *dead)))


# --- rows -------------------------------------------------------------------


def _check_rows(connection: Connection) -> Iterator[Finding]:
    for (text,) in connection.execute("PRAGMA integrity_check(10)"):
        if text != "ok":
            yield Finding("database-damaged", "state.db", text)
    dangling: dict[str, int] = {}
    for table, _, _, _ in connection.execute("PRAGMA foreign_key_check"):
        dangling[table] = dangling.get(table, 0) + 1
    for (name,) in connection.execute(
        "SELECT name FROM image_names WHERE image_id NOT IN (SELECT id FROM images)"
    ):
        yield Finding("name-nowhere", name)
    for table in sorted(dangling.keys() - {"image_names"}):
        yield Finding("dangling-row", table, f"{dangling[table]} rows")


# --- blobs ------------------------------------------------------------------


def _check_blobs(store: Store, connection: Connection) -> Iterator[Finding]:
    sizes = dict(connection.execute("SELECT digest, size_bytes FROM blobs").fetchall())
    lenders = dict(connection.execute("SELECT digest, root FROM borrowed_blobs").fetchall())
    for text, size_bytes in sizes.items():
        digest = parse_digest(text)
        try:
            found_bytes = os.stat(store.blobs.path(digest)).st_size
        except FileNotFoundError:
            if text in lenders:
                yield Finding("borrowed-missing", text, lenders[text])
            elif not store.blobs.is_coming(digest):
                yield Finding("blob-missing", text)
            continue
        if found_bytes != size_bytes:
            yield Finding("blob-altered", text, f"{found_bytes} bytes instead of {size_bytes}")
    yield from _find_stray_blobs(store, sizes.keys())


def _find_dead_drafts(store: Store) -> tuple[Finding, ...]:
    """What no writer at work grows; asked before the check holds the lock that tells."""
    drafts = store.blobs.list_drafts()
    if not drafts or store.is_bringing():
        return ()
    return tuple(Finding("stray-file", path) for path in drafts if os.path.lexists(path))


def _find_stray_blobs(store: Store, known: Collection[str]) -> Iterator[Finding]:
    top = f"{store.places.image_root}/blobs"
    for algorithm in sorted(os.listdir(top)):
        for name in sorted(os.listdir(f"{top}/{algorithm}")):
            try:
                digest = str(parse_digest(f"{algorithm}:{name}"))
            except Error:
                yield Finding("stray-file", f"{top}/{algorithm}/{name}")
                continue
            if digest not in known:
                yield Finding("blob-stray", digest)


def _check_content(store: Store, skipped: set[str]) -> Iterator[Finding]:
    """Whether the blobs are what their digests say; those in `skipped` are known to be faulty."""
    with store.database.read() as connection:
        rows = connection.execute(
            "SELECT digest FROM blobs WHERE digest NOT IN (SELECT digest FROM borrowed_blobs) ORDER BY digest"
        ).fetchall()
    for (text,) in rows:
        digest = parse_digest(text)
        if text not in skipped and os.path.exists(store.blobs.path(digest)):
            found = hash_file(store.blobs.path(digest), digest.algorithm)
            if found != digest:
                yield Finding("blob-altered", text, f"its content has digest {found}")


def hash_file(path: str, algorithm: str) -> Digest:
    """The digest of a file's content.  Raises OSError."""
    hasher = digest_hasher(algorithm)
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            hasher.update(data)
    return Digest(algorithm, hasher.hexdigest())


# --- layers -----------------------------------------------------------------


def _load_layers(connection: Connection) -> list[_Layer]:
    rows = connection.execute(
        "SELECT id, coalesce(root, ''), chain_id, diff_id, blob_digest, size_bytes, inodes"
        " FROM layers LEFT JOIN borrowed_layers ON layer_id = id ORDER BY id"
    )
    return [_Layer(row[0], LayerNote(*row[2:]), row[1]) for row in rows]


def _check_layers(store: Store, layers: list[_Layer]) -> Iterator[Finding]:
    """Directories, notes and strays; not what the directories hold."""
    for layer in layers:
        path = store.layers.path(layer.id)
        if layer.lender:
            if not os.path.isdir(path):
                yield Finding("borrowed-missing", f"layer {layer.id}", layer.lender)
            continue
        if not os.path.isdir(path) or os.path.islink(path):
            yield Finding("layer-missing", str(layer.id))
            continue
        note = read_note(f"{path}.json", LayerNote)
        if note is None or (note.chain_id, note.diff_id, note.blob_digest) != (
            layer.note.chain_id,
            layer.note.diff_id,
            layer.note.blob_digest,
        ):
            yield Finding("layer-note", str(layer.id))
        elif (note.size_bytes, note.inodes) != (layer.note.size_bytes, layer.note.inodes):
            yield Finding("layer-note", str(layer.id), "sizes differ")
    yield from _find_stray_layers(store, {layer.id for layer in layers})


def _find_stray_layers(store: Store, known: set[int]) -> Iterator[Finding]:
    top = f"{store.places.image_root}/layers"
    for name in sorted(os.listdir(top)):
        path = f"{top}/{name}"
        if row_id_of(name):
            if row_id_of(name) not in known:
                yield Finding("layer-stray", path)
        elif name.startswith("tmp-"):
            if not is_leaving(name) and not store.layers.is_being_made(name):
                yield Finding("layer-half-made", path)
        elif not is_kept(path):
            yield Finding("stray-file", path)


def check_tree(store: Store, layer_id: int, *, read_data: bool) -> Iterator[Finding]:
    """Whether a layer's directory is as it was unpacked."""
    path = store.layers.path(layer_id)
    note = read_note(f"{path}.json", LayerNote)
    try:
        listed = read_listing(f"{path}.list", note.listing if note else "")
    except Error as error:
        yield Finding("layer-unlisted", str(layer_id), error.message)
        return
    checksum: Checksum = read_checksum if read_data else skip_checksum
    try:
        found = list(list_tree(path, checksum))
    except (Error, OSError) as error:
        yield Finding("layer-changed", str(layer_id), str(error))
        return
    if not read_data:
        listed = list(map(without_checksum, listed))
    changed = list_changed(listed, found)
    if changed:
        more = f" and {len(changed) - _NAMED_PATHS} more" if len(changed) > _NAMED_PATHS else ""
        yield Finding("layer-changed", str(layer_id), ", ".join(changed[:_NAMED_PATHS]) + more)


def list_changed(listed: list[bytes], found: list[bytes]) -> list[str]:
    """The paths whose lines differ, each once, in order."""
    if listed == found:
        return []
    differing = set(listed) ^ set(found)
    paths = [path_of(line) for line in (*listed, *found) if line in differing]
    moved = [
        path_of(one or other or b"") for one, other in zip_longest(listed, found) if one != other
    ]  # the same lines in another order: lines of one listing are unique, so this is its damage
    return list(dict.fromkeys(paths or moved))


# --- snapshots --------------------------------------------------------------


def _check_snapshots(store: Store, connection: Connection) -> Iterator[Finding]:
    top = f"{store.root}/snapshots"
    rows = dict(connection.execute("SELECT key, image_id FROM snapshots").fetchall())
    for key, image_id in rows.items():
        layers = tuple(
            row[0]
            for row in connection.execute(
                "SELECT layer_id FROM snapshot_layers WHERE key = ? ORDER BY position", (key,)
            )
        )
        if not all(os.path.isdir(f"{top}/{key}/{part}") for part in ("upper", "work")):
            yield Finding("snapshot-missing", key)
        elif read_note(store.snapshots.note_path(key), SnapshotNote) != SnapshotNote(image_id, layers):
            yield Finding("snapshot-note", key)
        for layer_id in layers:
            if not os.path.isdir(store.layers.path(layer_id)):
                yield Finding("lower-missing", key, f"layer {layer_id}")
    for name in sorted(set(os.listdir(top)) - rows.keys()):
        if not name.startswith("tmp-") and not store.snapshots.is_leaving(name):
            yield Finding("snapshot-stray", f"{top}/{name}")
