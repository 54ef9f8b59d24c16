"""Additional stores: roots that are only read, whose images are used without a copy.

What such a store offers gets rows here like everything else, and its layers and blobs are
symbolic links to where they lie; the tables borrowed_* say whose they are.  An image of our
own stays our own when an additional store has it too, and so does a name.

This happens when a store is opened.  What is offered no longer is let go then.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from sqlite3 import Connection
from typing import NamedTuple

from rundlet.errors import DataLoss, NotFound
from rundlet.step import step
from rundlet.store.database import Database
from rundlet.store.notes import unlink_if_there

# In the root of images while links are made: who finds it looks for those that nobody knows of.
_MARKER = "borrowing"


class Offered(NamedTuple):
    """One image of another store; `layers` are its rows there (id first), bottom first, `blobs` too."""

    root: str
    image_id: str
    manifest_digest: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    layers: tuple[tuple[int, str, str, str, int, int], ...]
    blobs: tuple[tuple[str, int], ...]


def borrow_all(database: Database, image_root: str, roots: Sequence[str]) -> None:
    """Make the images of the stores at `roots` images of this one, and let go of those that are gone.

    Raises NotFound for a root without a store, DataLoss for one that cannot be read.
    """
    marker = f"{image_root}/{_MARKER}"
    if os.path.exists(marker):
        _discard_links(database, image_root, marker)
    offered = [image for root in roots for image in list_offered(root)]
    wanted = {(image.image_id, image.root) for image in offered}
    with database.read() as connection:
        known = set(connection.execute("SELECT image_id, root FROM borrowed_images"))
        own = {row[0] for row in connection.execute("SELECT id FROM images")} - {each[0] for each in known}
    fresh = [image for image in offered if image.image_id not in own | {each[0] for each in known & wanted}]
    if not fresh and known <= wanted:
        return
    with database.write() as connection:
        for image_id, _ in known - wanted:
            connection.execute("DELETE FROM images WHERE id = ?", (image_id,))
        with step("store.borrow"), open(marker, "wb"):
            pass
        for image in fresh:
            _borrow(connection, image_root, image)
    _discard_links(database, image_root, marker)


def _discard_links(database: Database, image_root: str, marker: str) -> None:
    """Remove links to a lender's blobs that have no row: their borrower died before its rows were there."""
    with database.write() as connection:
        known = {row[0] for row in connection.execute("SELECT digest FROM borrowed_blobs")}
        for algorithm in os.listdir(f"{image_root}/blobs"):
            with os.scandir(f"{image_root}/blobs/{algorithm}") as entries:
                strays = [
                    each.path
                    for each in entries
                    if each.is_symlink() and f"{algorithm}:{each.name}" not in known
                ]
            for path in strays:
                unlink_if_there(path)
        unlink_if_there(marker)


def check_lenders(roots: Sequence[str]) -> None:
    """Raises what `borrow_all` would raise of these roots."""
    for root in roots:
        for _ in list_offered(root):
            pass


def list_offered(root: str) -> Iterator[Offered]:
    """The images of the store at `root`, which nothing is written to."""
    with closing(_connect(root)) as connection:
        try:
            for image_id, manifest in connection.execute(
                "SELECT id, manifest_digest FROM images ORDER BY id"
            ):
                yield _read_image(connection, root, image_id, manifest)
        except sqlite3.Error as error:
            raise DataLoss(f"additional store {root}: {error}") from error


def find_lender(connection: Connection, image_id: str) -> str:
    """The root of the store that an image is borrowed from, "" when it is our own."""
    row = connection.execute("SELECT root FROM borrowed_images WHERE image_id = ?", (image_id,)).fetchone()
    return row[0] if row else ""


def _connect(root: str) -> Connection:
    """SQLite makes files beside a database in WAL mode, unless it is told that nobody writes to it.

    Nobody does when the disk is read-only, or when there is no journal: its last user closed it.
    """
    path = f"{root}/state.db"
    if not os.path.exists(path):
        raise NotFound(f"additional store {root}: there is no state.db")
    in_use = os.path.exists(f"{path}-wal") and os.access(root, os.W_OK)
    immutable = "" if in_use else "&immutable=1"
    return sqlite3.connect(f"file:{path}?mode=ro{immutable}", uri=True)


def _read_image(connection: Connection, root: str, image_id: str, manifest_digest: str) -> Offered:
    def select(query: str) -> list[tuple[str, ...]]:
        return connection.execute(query, (image_id,)).fetchall()

    layers = connection.execute(
        "SELECT id, chain_id, diff_id, blob_digest, size_bytes, inodes FROM image_layers"
        " JOIN layers ON id = layer_id WHERE image_id = ? ORDER BY position",
        (image_id,),
    )
    blobs = connection.execute(
        "SELECT digest, size_bytes FROM image_blobs JOIN blobs USING (digest) WHERE image_id = ?", (image_id,)
    )
    return Offered(
        root,
        image_id,
        manifest_digest,
        tuple(row[0] for row in select("SELECT name FROM image_names WHERE image_id = ?")),
        tuple(row[0] for row in select("SELECT reference FROM image_digests WHERE image_id = ?")),
        tuple(layers),
        tuple(blobs),
    )


def _borrow(connection: Connection, image_root: str, image: Offered) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO images VALUES (?, ?, 0)", (image.image_id, image.manifest_digest)
    )
    connection.execute("INSERT OR REPLACE INTO borrowed_images VALUES (?, ?)", (image.image_id, image.root))
    for table, texts in (("image_names", image.names), ("image_digests", image.digests)):
        connection.executemany(
            f"INSERT OR IGNORE INTO {table} VALUES (?, ?)",  # noqa: S608  one of two
            [(text, image.image_id) for text in texts],
        )
    for position, layer in enumerate(image.layers):
        layer_id = _borrow_layer(connection, image_root, image.root, layer)
        row = (image.image_id, position, layer_id)
        connection.execute("INSERT OR REPLACE INTO image_layers VALUES (?, ?, ?)", row)
    for digest, size_bytes in image.blobs:
        _borrow_blob(connection, image_root, image.root, digest, size_bytes)
        connection.execute("INSERT OR IGNORE INTO image_blobs VALUES (?, ?)", (image.image_id, digest))


def _borrow_layer(
    connection: Connection, image_root: str, lender: str, layer: tuple[int, str, str, str, int, int]
) -> int:
    """The id of the layer here: our own of that chain id, or a link to the lender's."""
    their_id, chain_id = layer[:2]
    row = connection.execute("SELECT id FROM layers WHERE chain_id = ?", (chain_id,)).fetchone()
    if row is not None:
        return int(row[0])
    (layer_id,) = connection.execute(
        "INSERT INTO layers (chain_id, diff_id, blob_digest, size_bytes, inodes, boot_id, kept_until_s)"
        " VALUES (?, ?, ?, ?, ?, '', 0) RETURNING id",
        layer[1:],
    ).fetchone()
    connection.execute("INSERT INTO borrowed_layers VALUES (?, ?)", (layer_id, lender))
    _link(f"{lender}/layers/{their_id}", f"{image_root}/layers/{layer_id}")
    return int(layer_id)


def _borrow_blob(connection: Connection, image_root: str, lender: str, digest: str, size_bytes: int) -> None:
    fresh = connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, '', 0)", (digest, size_bytes))
    if fresh.rowcount:
        connection.execute("INSERT INTO borrowed_blobs VALUES (?, ?)", (digest, lender))
        place = digest.replace(":", "/", 1)
        os.makedirs(os.path.dirname(f"{image_root}/blobs/{place}"), mode=0o700, exist_ok=True)
        _link(f"{lender}/blobs/{place}", f"{image_root}/blobs/{place}")


def _link(target: str, path: str) -> None:
    """A row that has just been made is nobody's else: what is in its place was left by a process that died."""
    unlink_if_there(path)
    with step("store.borrow"):
        os.symlink(target, path)
