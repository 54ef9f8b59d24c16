"""Images: what name and digest they were pulled by, and which layers they stand on."""

from collections.abc import Callable
from sqlite3 import Connection
from typing import NamedTuple

from rundlet.errors import DataLoss, InvalidArgument, NotFound
from rundlet.spec.digest import parse_digest
from rundlet.spec.image import ImageConfig, parse_image_config
from rundlet.spec.reference import parse_reference
from rundlet.step import step
from rundlet.store.blobs import Blobs
from rundlet.store.database import Database
from rundlet.store.timestamp import parse_timestamp_ns

_ID_PREFIX_MIN = 3
_HEX_DIGITS = frozenset("0123456789abcdef")


class ImageRecord(NamedTuple):
    """`id` is the digest of the config; `names` are tagged ("docker.io/library/redis:latest"),
    `digests` exact ("docker.io/library/redis@sha256:…"), both sorted and either may be empty.

    `layers` are row ids, bottom first; `size_bytes` is what the layers take unpacked;
    `created_at_ns` is when the image says it was made, 0 when it does not.
    """

    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    size_bytes: int
    created_at_ns: int
    layers: tuple[int, ...]
    config: ImageConfig
    pinned: bool
    manifest_digest: str


class NewImage(NamedTuple):
    """What a pull has brought; `name` is "" for a pull by digest alone.

    `blobs` are the digests of manifest, config and layers; those that are not here do not count.
    """

    id: str
    name: str
    digest_reference: str
    manifest_digest: str
    layers: tuple[int, ...]
    blobs: tuple[str, ...]
    pinned: bool = False


class Images:
    """`collect` is called after a removal: it frees what nothing uses any more."""

    def __init__(self, database: Database, blobs: Blobs, collect: Callable[[], None]) -> None:
        self._database = database
        self._blobs = blobs
        self._collect = collect
        self._configs: dict[str, ImageConfig] = {}

    def list(self) -> list[ImageRecord]:
        """All images, by id; one whose config the disk has lost is left out (a pull mends it)."""
        with self._database.read() as connection:
            ids = [row[0] for row in connection.execute("SELECT id FROM images ORDER BY id")]
            found = [self._load_if_whole(connection, image_id) for image_id in ids]
        return [record for record in found if record is not None]

    def find(self, text: str) -> ImageRecord | None:
        """The image that `text` means: an id, a name, name@digest, or 3 and more hex digits of an id.

        None when there is none; InvalidArgument when `text` is malformed or fits several ids.
        """
        with self._database.read() as connection:
            image_id = _find_id(connection, text)
            return self._load_if_whole(connection, image_id) if image_id else None

    def publish(self, image: NewImage) -> ImageRecord:
        """Make the image visible, at once and whole.

        A name that another image had moves here; that image stays, by its digest.
        """
        with step("image.publish"), self._database.write() as connection:
            connection.execute(
                "INSERT INTO images VALUES (?, ?, ?) ON CONFLICT (id)"
                " DO UPDATE SET manifest_digest = excluded.manifest_digest,"
                " pinned = max(pinned, excluded.pinned)",
                (image.id, image.manifest_digest, image.pinned),
            )
            _insert_names(connection, image)
            _insert_content(connection, image)
            return self._load(connection, image.id)

    def remove(self, image_id: str) -> None:
        """Remove the image with all its names; nothing happens when it is gone."""
        with step("image.forget"), self._database.write() as connection:
            connection.execute("DELETE FROM images WHERE id = ?", (image_id,))
        self._configs.pop(image_id, None)
        self._collect()

    def untag(self, name: str) -> None:
        """Take one name (canonical or as people write it) away; the image stays.  Raises NotFound."""
        canonical = str(parse_reference(name))
        with self._database.write() as connection:
            done = connection.execute("DELETE FROM image_names WHERE name = ?", (canonical,)).rowcount
        if not done:
            raise NotFound(f"no image is named {canonical}")

    def _load_if_whole(self, connection: Connection, image_id: str) -> ImageRecord | None:
        try:
            return self._load(connection, image_id)
        except (NotFound, DataLoss):
            return None

    def _load(self, connection: Connection, image_id: str) -> ImageRecord:
        def column(query: str) -> tuple[str, ...]:
            return tuple(row[0] for row in connection.execute(query, (image_id,)))

        manifest_digest, pinned = connection.execute(
            "SELECT manifest_digest, pinned FROM images WHERE id = ?", (image_id,)
        ).fetchone()
        layers = connection.execute(
            "SELECT layers.id, layers.size_bytes FROM image_layers JOIN layers ON layers.id = layer_id"
            " WHERE image_id = ? ORDER BY position",
            (image_id,),
        ).fetchall()
        config = self._config(image_id)
        return ImageRecord(
            id=image_id,
            names=column("SELECT name FROM image_names WHERE image_id = ? ORDER BY name"),
            digests=column("SELECT reference FROM image_digests WHERE image_id = ? ORDER BY reference"),
            size_bytes=sum(size for _, size in layers),
            created_at_ns=parse_timestamp_ns(config.created),
            layers=tuple(layer_id for layer_id, _ in layers),
            config=config,
            pinned=bool(pinned),
            manifest_digest=manifest_digest,
        )

    def _config(self, image_id: str) -> ImageConfig:
        """The parsed config; it is named by its digest, so it never changes."""
        config = self._configs.get(image_id)
        if config is None:
            raw = self._blobs.read(parse_digest(image_id))
            config = self._configs[image_id] = parse_image_config(raw, f"config of image {image_id}")
        return config


def _insert_names(connection: Connection, image: NewImage) -> None:
    if image.name:
        connection.execute("INSERT OR REPLACE INTO image_names VALUES (?, ?)", (image.name, image.id))
    connection.execute(
        "INSERT OR REPLACE INTO image_digests VALUES (?, ?)", (image.digest_reference, image.id)
    )


def _insert_content(connection: Connection, image: NewImage) -> None:
    connection.execute("DELETE FROM image_layers WHERE image_id = ?", (image.id,))
    connection.executemany(
        "INSERT INTO image_layers VALUES (?, ?, ?)",
        [(image.id, position, layer_id) for position, layer_id in enumerate(image.layers)],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO image_blobs SELECT ?, digest FROM blobs WHERE digest = ?",
        [(image.id, digest) for digest in image.blobs],
    )
    connection.executemany(
        "UPDATE layers SET kept_until_s = 0 WHERE id = ?", [(layer_id,) for layer_id in image.layers]
    )
    connection.executemany(
        "UPDATE blobs SET kept_until_s = 0 WHERE digest = ?", [(digest,) for digest in image.blobs]
    )


def _find_id(connection: Connection, text: str) -> str:
    """The id of the image that `text` means, "" when there is none."""
    hexadecimal = text.removeprefix("sha256:")
    if not hexadecimal or not _HEX_DIGITS.issuperset(hexadecimal):
        return _find_named(connection, text)
    if len(hexadecimal) == 64:
        return _first(connection, "SELECT id FROM images WHERE id = ?", f"sha256:{hexadecimal}")
    named = _find_named(connection, text) if hexadecimal == text else ""
    return named or _find_prefix(connection, hexadecimal)


def _find_prefix(connection: Connection, digits: str) -> str:
    if len(digits) < _ID_PREFIX_MIN:
        return ""
    rows = connection.execute("SELECT id FROM images WHERE id GLOB ? LIMIT 2", (f"sha256:{digits}*",))
    found = [row[0] for row in rows]
    if len(found) > 1:
        raise InvalidArgument(f"image id {digits} is ambiguous", hint="give more digits")
    return found[0] if found else ""


def _find_named(connection: Connection, text: str) -> str:
    """By name@digest when there is a digest (whatever the tag says), else by tagged name."""
    reference = parse_reference(text)
    if reference.digest:
        exact = str(reference.with_digest(reference.digest))
        return _first(connection, "SELECT image_id FROM image_digests WHERE reference = ?", exact)
    return _first(connection, "SELECT image_id FROM image_names WHERE name = ?", str(reference))


def _first(connection: Connection, query: str, value: str) -> str:
    row = connection.execute(query, (value,)).fetchone()
    return row[0] if row else ""
