"""Whether images hold together: what their manifests and configs name is what is counted for them."""

import os
from collections.abc import Iterator
from sqlite3 import Connection
from typing import NamedTuple

from rundlet.errors import DataLoss, Error
from rundlet.spec.digest import parse_digest
from rundlet.spec.image import chain_ids, parse_image_config
from rundlet.spec.manifest import Manifest, parse_manifest
from rundlet.store.findings import Finding
from rundlet.store.notes import ImageNote, is_half_note, read_note
from rundlet.store.store import Store


class References(NamedTuple):
    """`chain_ids`, `diff_ids` and `layer_blobs` go together, bottom first; `blobs` are all digests."""

    chain_ids: tuple[str, ...]
    diff_ids: tuple[str, ...]
    layer_blobs: tuple[str, ...]
    blobs: tuple[str, ...]


def check_images(store: Store, connection: Connection) -> Iterator[Finding]:
    rows = connection.execute("SELECT id, manifest_digest FROM images ORDER BY id").fetchall()
    for image_id, manifest_digest in rows:
        yield from _check_documents(store, connection, image_id, manifest_digest)
        wanted = store.images.describe_note(connection, image_id)
        if read_note(store.images.note_path(image_id), ImageNote) != wanted:
            yield Finding("image-note", image_id)
    known = {os.path.basename(store.images.note_path(row[0])) for row in rows}
    top = f"{store.places.image_root}/images"
    for name in sorted(set(os.listdir(top)) - known):
        if not is_half_note(name):
            yield Finding("stray-file", f"{top}/{name}")


def _check_documents(
    store: Store, connection: Connection, image_id: str, manifest_digest: str
) -> Iterator[Finding]:
    """A document that is missing is the blob's finding; one that is counted for nobody is the image's."""
    counted = _column(connection, "SELECT digest FROM image_blobs WHERE image_id = ?", image_id)
    for digest in (manifest_digest, image_id):
        if digest not in counted:
            yield Finding("references-wrong", image_id, f"{digest} is not counted for it")
    try:
        wanted = find_references(store, image_id, manifest_digest)
    except DataLoss as error:
        yield Finding("blob-altered", _altered(store, image_id, manifest_digest), error.message)
        return
    except Error:
        return  # a document is missing: the blob's finding
    here = set(_column(connection, "SELECT digest FROM blobs", None))
    uncounted = (set(wanted.blobs) & here) - set(counted)
    if uncounted:
        yield Finding("references-wrong", image_id, f"{min(uncounted)} is not counted for it")
    layers = _column(
        connection,
        "SELECT chain_id FROM image_layers JOIN layers ON id = layer_id WHERE image_id = ? ORDER BY position",
        image_id,
    )
    if layers != list(wanted.chain_ids):
        yield Finding(
            "references-wrong", image_id, f"it has {len(layers)} layers, its config {len(wanted.chain_ids)}"
            if len(layers) != len(wanted.chain_ids) else "its layers are not those of its config",
        )  # fmt: skip


def find_references(store: Store, image_id: str, manifest_digest: str) -> References:
    """What an image's own documents say it uses.

    Raises NotFound (a document is missing), DataLoss (it has changed), InvalidArgument.
    """
    raw = store.blobs.read(parse_digest(manifest_digest))
    manifest = parse_manifest(raw, what=f"manifest {manifest_digest}")
    config = parse_image_config(store.blobs.read(parse_digest(image_id)), f"config {image_id}")
    layers = manifest.layers if isinstance(manifest, Manifest) else ()
    return References(
        chain_ids(config.rootfs.diff_ids),
        config.rootfs.diff_ids,
        tuple(layer.digest for layer in layers),
        (manifest_digest, image_id, *(layer.digest for layer in layers)),
    )


def _altered(store: Store, image_id: str, manifest_digest: str) -> str:
    """Which of the two documents it is that has changed."""
    try:
        store.blobs.read(parse_digest(manifest_digest))
    except Error:
        return manifest_digest
    return image_id


def _column(connection: Connection, query: str, value: str | None) -> list[str]:
    values = () if value is None else (value,)
    return [row[0] for row in connection.execute(query, values)]
