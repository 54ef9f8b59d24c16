"""Images and layers of what lies on disk: a directory as an image, a file or directory put into one."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from rundlet.archive.compression import open_decompressed
from rundlet.archive.pack import Writable
from rundlet.archive.stream import ByteStream
from rundlet.archive.tar import TarReader, clean_path
from rundlet.archive.treetar import Normal, make_whiteout, pack_tree
from rundlet.archive.writer import TarWriter
from rundlet.errors import InvalidArgument
from rundlet.image.change import Change, HistoryEntry, format_time
from rundlet.image.mutate import Base, make_base, read_base, write_image
from rundlet.image.packing import PackedLayer, pack_layer, read_source_date_s
from rundlet.image.transport import Destination, Source
from rundlet.kernel.failure import translating
from rundlet.spec.descriptor import Platform, host_platform
from rundlet.spec.digest import Digest

_LAYER_BYTES_MAX = 256 << 30


class Build(NamedTuple):
    """How an image is made: where temporary files go, whether owners are kept (else all is root's)."""

    temporary: str | None = None
    keep_owners: bool = False

    def normal(self) -> Normal:
        return Normal(None if self.keep_owners else (0, 0), read_source_date_s() * 10**9)


_BUILD = Build()


def build_from_directory(
    directory: str,
    destination: Destination,
    change: Change,
    *,
    platform: Platform | None = None,
    build: Build = _BUILD,
) -> Digest:
    """An image of one layer, which holds what `directory` holds; returns the manifest's digest.

    Times are SOURCE_DATE_EPOCH's (else 1970's).
    """
    created = format_time(read_source_date_s())
    change = with_history(change, "rundlet image from-dir")
    with pack_layer(lambda out: pack_tree(directory, out, normal=build.normal()), build.temporary) as layer:
        return write_image(
            make_base(platform or host_platform(), created), None, destination, change, [layer]
        )


def insert(
    source: Source,
    destination: Destination,
    path: str,
    target: str,
    change: Change,
    *,
    opaque: bool = False,
    build: Build = _BUILD,
) -> Digest:
    """Put the file or directory `path` into the image as `target`; with `opaque` in place of what was there."""
    inside = _inside(target)

    def write(out: Writable) -> None:
        gone = (inside + b"/.wh..opq",) if opaque else ()
        pack_tree(path, out, normal=build.normal(), prefix=inside, whiteouts=gone)

    with pack_layer(write, build.temporary) as layer:
        return _put_on_top(source, destination, layer, change, f"rundlet image insert {target}")


def remove(
    source: Source, destination: Destination, target: str, change: Change, *, build: Build = _BUILD
) -> Digest:
    """Make `target` be gone from the image."""

    def write(out: Writable) -> None:
        writer = TarWriter(out)
        writer.add(make_whiteout(_inside(target), build.normal()))
        writer.finish()

    with pack_layer(write, build.temporary) as layer:
        return _put_on_top(source, destination, layer, change, f"rundlet image insert --whiteout {target}")


def add_layer(
    source: Source, destination: Destination, archive: str, change: Change, *, build: Build = _BUILD
) -> Digest:
    """Put a tar (plain or compressed) on top of the image, as it is."""

    def write(out: Writable) -> None:
        with translating(f"layer {archive}"), open(archive, "rb") as file:
            for chunk in open_decompressed(file):
                out.write(chunk)

    _check_tar(archive)
    with pack_layer(write, build.temporary) as layer:
        return _put_on_top(
            source, destination, layer, change, f"rundlet image add-layer {os.path.basename(archive)}"
        )


def _check_tar(archive: str) -> None:
    """Raises InvalidArgument unless it is a tar to its end."""
    with translating(f"layer {archive}"), open(archive, "rb") as file:
        try:
            for _ in TarReader(ByteStream(open_decompressed(file), _LAYER_BYTES_MAX)):
                pass
        except InvalidArgument as error:
            raise InvalidArgument(f"layer {archive}: {error.message}", hint=error.hint) from error


def configure(source: Source, destination: Destination, change: Change) -> Digest:
    """Change the image's configuration alone."""
    return _write(source, destination, read_base(source), change, (), "rundlet image config")


def _put_on_top(
    source: Source, destination: Destination, layer: PackedLayer, change: Change, created_by: str
) -> Digest:
    return _write(source, destination, read_base(source), change, (layer,), created_by)


def _write(
    source: Source,
    destination: Destination,
    base: Base,
    change: Change,
    layers: Sequence[PackedLayer],
    created_by: str,
) -> Digest:
    return write_image(base, source, destination, with_history(change, created_by), layers)


def with_history(change: Change, created_by: str) -> Change:
    """`change` with a line of history that says `created_by`, unless its own says something else.

    Who wants none gives a line without a time.
    """
    history = change.history or HistoryEntry(format_time(read_source_date_s()))
    if not history.created:
        return change._replace(history=None)
    return change._replace(history=history._replace(created_by=history.created_by or created_by))


def _inside(target: str) -> bytes:
    path = clean_path(os.fsencode(target))
    if not path:
        raise InvalidArgument(f"{target!r} is the image's root")
    return path
