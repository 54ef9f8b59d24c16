"""The store's tables and its tree on disk, in one place.

    <root>/                     0700
      state.db                  the tables below (and those of the engine)
      blobs/sha256/<hex>        manifests, configs and layers as the registry served them
      ingest/sha256-<hex>       blobs being downloaded: a part that the next pull goes on with
      layers/<n>/               one layer unpacked, overlay form; n is its row id: short,
                                since mount options end at 4096 bytes
      layers/<n>.json           what it is (`notes`), and
      layers/<n>.list           what it held when it was made (`listing`), for check and repair
      layers/tmp-<name>         half-made, or on the way out
      layers/kept-<n>-<hex>     a damaged layer that has been replaced while snapshots stood on it
      images/<alg>-<hex>.json   an image's names (`notes`)
      snapshots/<key>/upper     a container's own changes
      snapshots/<key>/work      overlayfs's
      snapshots/<key>/note.json what it stands on (`notes`)
    shifted/<n>-<mapping>/    the layer <n> for a user namespace (`shifted`)

With a separate image store blobs/, ingest/, layers/ and images/ are under that root instead.
What an additional, read-only store has is a symbolic link here, in layers/ and blobs/, and a row
in one of the tables borrowed_*.

A row of `blobs` is there before its file and goes after it, a row of `layers` comes with
its directory in one transaction: no file without a row is ever left but in ingest/ and
tmp-*, which opening the store tidies.

`boot_id` is "" once syncfs(2) has put the content on disk.  Content that was not when the
machine went down is not believed after the next boot.

`kept_until_s` (seconds since 1970) protects what a pull has brought from being freed before
the image is there: a pull that was killed is gone on with.  The image's row sets it to 0.
"""

import time
from typing import Final

KEPT_S: Final = 7 * 24 * 3600


def compute_kept_until_s() -> int:
    """How long content that no image uses yet is kept from now on."""
    return int(time.time()) + KEPT_S


SCHEMA: Final = (
    """
    CREATE TABLE IF NOT EXISTS blobs (
        digest       TEXT PRIMARY KEY,
        size_bytes   INTEGER NOT NULL,
        boot_id      TEXT NOT NULL,
        kept_until_s INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS layers (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        chain_id     TEXT NOT NULL UNIQUE,
        diff_id      TEXT NOT NULL,
        blob_digest  TEXT NOT NULL,
        size_bytes   INTEGER NOT NULL,
        inodes       INTEGER NOT NULL,
        boot_id      TEXT NOT NULL,
        kept_until_s INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS images (
        id              TEXT PRIMARY KEY,
        manifest_digest TEXT NOT NULL,
        pinned          INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS image_names (
        name     TEXT PRIMARY KEY,
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS image_digests (
        reference TEXT PRIMARY KEY,
        image_id  TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS image_blobs (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        digest   TEXT NOT NULL REFERENCES blobs (digest),
        PRIMARY KEY (image_id, digest)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS image_blobs_by_digest ON image_blobs (digest)",
    """
    CREATE TABLE IF NOT EXISTS image_layers (
        image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        layer_id INTEGER NOT NULL REFERENCES layers (id),
        PRIMARY KEY (image_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS image_layers_by_layer ON image_layers (layer_id)",
    """
    CREATE TABLE IF NOT EXISTS snapshots (
        key      TEXT PRIMARY KEY,
        image_id TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS snapshot_layers (
        key      TEXT NOT NULL REFERENCES snapshots (key) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        layer_id INTEGER NOT NULL REFERENCES layers (id),
        PRIMARY KEY (key, position)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX IF NOT EXISTS snapshot_layers_by_layer ON snapshot_layers (layer_id)",
    """
    CREATE TABLE IF NOT EXISTS shifted_snapshots (
        key     TEXT PRIMARY KEY REFERENCES snapshots (key) ON DELETE CASCADE,
        mapping TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS shifted_layers (
        layer_id   INTEGER NOT NULL,
        mapping    TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        inodes     INTEGER NOT NULL,
        PRIMARY KEY (layer_id, mapping)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS borrowed_images (
        image_id TEXT PRIMARY KEY REFERENCES images (id) ON DELETE CASCADE,
        root     TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS borrowed_layers (
        layer_id INTEGER PRIMARY KEY REFERENCES layers (id) ON DELETE CASCADE,
        root     TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS borrowed_blobs (
        digest TEXT PRIMARY KEY REFERENCES blobs (digest) ON DELETE CASCADE,
        root   TEXT NOT NULL
    ) STRICT
    """,
)
