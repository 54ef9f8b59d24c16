"""What lies beside the content and says what it is, so that a lost database can be made anew.

    layers/<n>.json          LayerNote      written with the layer's directory
    images/<hex>.json        ImageNote      written with every change of the image's names
    snapshots/<key>/note.json  SnapshotNote

A note is replaced as a whole, by rename(2), before the transaction that it belongs to
commits: after a kill in between it may be ahead of the database, which is believed.
"""

import os
import secrets
from typing import Final, TypeVar

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.spec.json import decode, encode_pretty
from rundlet.step import step

_NOTE_BYTES_MAX: Final = 4 << 20
_HALF_PREFIX: Final = "tmp-note-"


class LayerNote(Struct, frozen=True):
    """`size_bytes` and `inodes` are those of the directory; `listing` is the digest of `<n>.list`."""

    chain_id: str
    diff_id: str
    blob_digest: str
    size_bytes: int
    inodes: int
    listing: str = ""


class ImageNote(Struct, frozen=True):
    """The image's id is the name of the file; `names` and `digests` are sorted."""

    manifest_digest: str
    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    pinned: bool = False


class SnapshotNote(Struct, frozen=True):
    """`layers` are row ids, bottom first."""

    image_id: str
    layers: tuple[int, ...] = ()


Note = TypeVar("Note", LayerNote, ImageNote, SnapshotNote)


def write_note(path: str, note: LayerNote | ImageNote | SnapshotNote) -> None:
    """Put `note` at `path`, whole or not at all.  Raises OSError."""
    temporary = f"{os.path.dirname(path)}/{_HALF_PREFIX}{secrets.token_hex(8)}"
    try:
        with open(temporary, "xb") as file:
            file.write(encode_pretty(note))
        with step("note.rename"):
            os.rename(temporary, path)
    except BaseException:
        unlink_if_there(temporary)
        raise


def read_note(path: str, kind: type[Note]) -> Note | None:
    """The note at `path`; None when there is none that can be read."""
    try:
        with open(path, "rb") as file:
            return decode(file.read(_NOTE_BYTES_MAX), kind, path)
    except (OSError, InvalidArgument):
        return None


def is_half_note(name: str) -> bool:
    """Whether the file was a note in the making."""
    return name.startswith(_HALF_PREFIX)


def remove_half_notes(directory: str) -> None:
    """Remove what killed writers left; the caller is in a write transaction, as every writer is."""
    for name in filter(is_half_note, os.listdir(directory)):
        unlink_if_there(f"{directory}/{name}")


def unlink_if_there(path: str) -> None:
    with step("store.unlink"):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
