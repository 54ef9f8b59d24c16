"""Images: what name and digest they were pulled by, and which layers they stand on."""

import os
from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import NamedTuple

from rundlet.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.spec.digest import parse_digest
from rundlet.spec.image import ImageConfig, parse_image_config
from rundlet.spec.reference import parse_reference
from rundlet.step import step
from rundlet.store.additional import find_lender
from rundlet.store.blobs import Blobs
from rundlet.store.database import Database
from rundlet.store.notes import ImageNote, read_note, remove_half_notes, unlink_if_there, write_note
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
    """`collect` is called after a removal: it frees what nothing uses any more.

    `pinned` are names and patterns (`is_pinned_name`) of images that count as pinned.
    """

    def __init__(
        self, root: str, database: Database, blobs: Blobs, collect: Callable[[], None], pinned: Sequence[str]
    ) -> None:
        self._root = f"{root}/images"
        self._database = database
        self._blobs = blobs
        self._collect = collect
        self._pinned = tuple(pinned)
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
        with (
            translating(f"image {image.id}"),
            step("image.publish"),
            self._database.write() as connection,
        ):
            connection.execute(
                "INSERT INTO images VALUES (?, ?, ?) ON CONFLICT (id)"
                " DO UPDATE SET manifest_digest = excluded.manifest_digest,"
                " pinned = max(pinned, excluded.pinned)",
                (image.id, image.manifest_digest, image.pinned),
            )
            connection.execute("DELETE FROM borrowed_images WHERE image_id = ?", (image.id,))
            losers = _insert_names(connection, image)
            _insert_content(connection, image)
            for image_id in (image.id, *losers):
                self.write_note(connection, image_id)
            return self._load(connection, image.id)

    def remove(self, image_id: str) -> None:
        """Remove the image with all its names; nothing happens when it is gone.

        Raises FailedPrecondition for an image of an additional store.
        """
        with (
            translating(f"image {image_id}"),
            step("image.forget"),
            self._database.write() as connection,
        ):
            self._forget(connection, image_id)
        self._collect()

    def remove_unless_used(self, image_id: str) -> bool:
        """Remove the image with its names, unless a container has come to use it; whether it is gone."""
        with (
            translating(f"image {image_id}"),
            step("image.forget"),
            self._database.write() as connection,
        ):
            if connection.execute("SELECT 1 FROM snapshots WHERE image_id = ?", (image_id,)).fetchone():
                return False
            self._forget(connection, image_id)
        self._collect()
        return True

    def tag(self, image_id: str, name: str) -> None:
        """Give the image one more name (canonical or as people write it); another image that had it loses it.

        Raises NotFound, InvalidArgument.
        """
        canonical = parse_tagged_name(name)
        with translating(f"image {image_id}"), self._database.write() as connection:
            if not connection.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone():
                raise NotFound(f"image {image_id} is not here")
            loser = _first(connection, "SELECT image_id FROM image_names WHERE name = ?", canonical)
            connection.execute("INSERT OR REPLACE INTO image_names VALUES (?, ?)", (canonical, image_id))
            for each in {image_id, loser} - {""}:
                self.write_note(connection, each)

    def untag(self, name: str) -> None:
        """Take one name (canonical or as people write it) away; the image stays.  Raises NotFound."""
        canonical = str(parse_reference(name))
        with translating(f"image name {canonical}"), self._database.write() as connection:
            image_id = _first(connection, "SELECT image_id FROM image_names WHERE name = ?", canonical)
            if not image_id:
                raise NotFound(f"no image is named {canonical}")
            connection.execute("DELETE FROM image_names WHERE name = ?", (canonical,))
            self.write_note(connection, image_id)

    def repin(self, pinned: Sequence[str]) -> None:
        """Have other names and patterns count as pinned from now on."""
        self._pinned = tuple(pinned)

    def pin(self, image_id: str, *, pinned: bool) -> None:
        """Pin the image, or let go of it: a pinned one is not pruned.  Raises NotFound."""
        with translating(f"image {image_id}"), self._database.write() as connection:
            update = "UPDATE images SET pinned = ? WHERE id = ?"
            if not connection.execute(update, (pinned, image_id)).rowcount:
                raise NotFound(f"image {image_id} is not here")
            self.write_note(connection, image_id)

    def note_path(self, image_id: str) -> str:
        return f"{self._root}/{_note_name(image_id)}"

    def describe_note(self, connection: Connection, image_id: str) -> ImageNote | None:
        """What the note of the image says when it is right; None when there is no such image."""
        row = connection.execute(
            "SELECT manifest_digest, pinned FROM images WHERE id = ?", (image_id,)
        ).fetchone()
        if row is None:
            return None
        return ImageNote(
            row[0], _names(connection, image_id), _digests(connection, image_id), pinned=bool(row[1])
        )

    def write_note(self, connection: Connection, image_id: str) -> None:
        """Make the note beside the database say what the database says, inside the caller's transaction."""
        note = self.describe_note(connection, image_id)
        if note is None:
            unlink_if_there(self.note_path(image_id))
        else:
            write_note(self.note_path(image_id), note)

    def collect_stale(self) -> None:
        """Make the notes fit what the database says after a process has died between the two."""
        with self._database.read() as connection:
            if not self._list_wrong_notes(connection):
                return
        with self._database.write() as connection:
            remove_half_notes(self._root)
            for image_id in self._list_wrong_notes(connection):
                self.write_note(connection, image_id)

    def _list_wrong_notes(self, connection: Connection) -> Sequence[str]:
        known = {row[0] for row in connection.execute("SELECT id FROM images")}
        noted = {image_id_of(name) for name in os.listdir(self._root) if name.endswith(".json")}
        return sorted(
            image_id
            for image_id in known | noted
            # a power failure may leave a file of nothing for an image that never came
            if image_id not in known
            or read_note(self.note_path(image_id), ImageNote) != self.describe_note(connection, image_id)
        )

    def _forget(self, connection: Connection, image_id: str) -> None:
        lender = find_lender(connection, image_id)
        if lender:
            raise FailedPrecondition(f"image {image_id} belongs to the read-only store {lender}")
        connection.execute("DELETE FROM images WHERE id = ?", (image_id,))
        self.write_note(connection, image_id)
        self._configs.pop(image_id, None)

    def _load_if_whole(self, connection: Connection, image_id: str) -> ImageRecord | None:
        try:
            return self._load(connection, image_id)
        except (NotFound, DataLoss):
            return None

    def _load(self, connection: Connection, image_id: str) -> ImageRecord:
        manifest_digest, pinned = connection.execute(
            "SELECT manifest_digest, pinned FROM images WHERE id = ?", (image_id,)
        ).fetchone()
        layers = connection.execute(
            "SELECT layers.id, layers.size_bytes FROM image_layers JOIN layers ON layers.id = layer_id"
            " WHERE image_id = ? ORDER BY position",
            (image_id,),
        ).fetchall()
        config = self._config(image_id)
        names = _names(connection, image_id)
        return ImageRecord(
            id=image_id,
            names=names,
            digests=_digests(connection, image_id),
            size_bytes=sum(size for _, size in layers),
            created_at_ns=parse_timestamp_ns(config.created),
            layers=tuple(layer_id for layer_id, _ in layers),
            config=config,
            pinned=bool(pinned) or any(is_pinned_name(name, self._pinned) for name in names),
            manifest_digest=manifest_digest,
        )

    def _config(self, image_id: str) -> ImageConfig:
        """The parsed config; it is named by its digest, so it never changes."""
        config = self._configs.get(image_id)
        if config is None:
            raw = self._blobs.read(parse_digest(image_id))
            config = self._configs[image_id] = parse_image_config(raw, f"config of image {image_id}")
        return config


def is_pinned_name(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of `patterns`: exact, "prefix*", or "*word*", as CRI-O's `pinned_images`."""
    return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    if pattern.startswith("*") and pattern.endswith("*") and len(pattern) > 2:
        return pattern[1:-1] in name
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


def parse_tagged_name(name: str) -> str:
    """The canonical form of a name with a tag; InvalidArgument when it has a digest."""
    reference = parse_reference(name)
    if reference.digest:
        raise InvalidArgument(f"{name} has a digest: an image is tagged by a name and a tag alone")
    return str(reference)


def _names(connection: Connection, image_id: str) -> tuple[str, ...]:
    rows = connection.execute("SELECT name FROM image_names WHERE image_id = ? ORDER BY name", (image_id,))
    return tuple(row[0] for row in rows)


def _digests(connection: Connection, image_id: str) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT reference FROM image_digests WHERE image_id = ? ORDER BY reference", (image_id,)
    )
    return tuple(row[0] for row in rows)


def _note_name(image_id: str) -> str:
    return f"{image_id.replace(':', '-', 1)}.json"


def image_id_of(name: str) -> str:
    """The image that the file `name` of `images/` belongs to."""
    return name.removesuffix(".json").replace("-", ":", 1)


def _insert_names(connection: Connection, image: NewImage) -> set[str]:
    """Give the image its name and digest; returns the ids of others that had them."""
    losers = {
        _first(connection, "SELECT image_id FROM image_names WHERE name = ?", image.name),
        _first(connection, "SELECT image_id FROM image_digests WHERE reference = ?", image.digest_reference),
    }
    if image.name:
        connection.execute("INSERT OR REPLACE INTO image_names VALUES (?, ?)", (image.name, image.id))
    connection.execute(
        "INSERT OR REPLACE INTO image_digests VALUES (?, ?)", (image.digest_reference, image.id)
    )
    return losers - {"", image.id}


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
