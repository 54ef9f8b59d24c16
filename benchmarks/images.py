"""Images to be pulled and unpacked, made of this machine's own files or of chance; layouts hold them."""

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rundlet.archive import tar
from rundlet.archive.tar import Entry
from rundlet.archive.writer import TarWriter
from rundlet.image.layout import LayerWriter, Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, host_platform
from rundlet.spec.image import ImageConfig, RootFs
from rundlet.spec.manifest import Manifest

LARGE_BYTES = 118_000_000
LARGE_LAYERS = 5
SMALL_FILE_BYTES = (10, 2000)
FILES_A_DIRECTORY = 100
_FILES_FROM = (
    "/usr/bin",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/share",
    "/usr/lib",
)
_FILE_BYTES_MAX = 8 << 20

WriteLayer = Callable[[LayerWriter], None]


def make_image(layout: Layout, name: str, writes: Sequence[WriteLayer]) -> None:
    made = []
    for write in writes:
        with layout.add_layer() as layer:
            write(layer)
        made.append(
            (Descriptor(mediatype.OCI_LAYER_GZIP, str(layer.digest), layer.size_bytes), str(layer.diff_id))
        )
    platform = host_platform()
    config = ImageConfig(
        RootFs("layers", tuple(diff_id for _, diff_id in made)), platform.architecture, platform.os
    )
    manifest = Manifest(
        schema_version=2,
        media_type=mediatype.OCI_MANIFEST,
        config=layout.add_document(config, mediatype.OCI_CONFIG),
        layers=tuple(layer for layer, _ in made),
    )
    layout.publish(layout.add_document(manifest, mediatype.OCI_MANIFEST), name)


def make_large_image(layout: Layout, name: str) -> None:
    """LARGE_BYTES of gzip in LARGE_LAYERS layers: this machine's programs, libraries and shared files."""
    paths = list_host_files()
    make_image(layout, name, [lambda layer: write_host_layer(layer, paths)] * LARGE_LAYERS)


def make_layered_image(layout: Layout, name: str, layers: int) -> None:
    """As many layers, 20 small files each."""
    make_image(layout, name, [layer_of_small_files(20, seed) for seed in range(layers)])


def make_image_of_files(layout: Layout, name: str, files: int) -> None:
    """One layer of as many small files."""
    make_image(layout, name, [layer_of_small_files(files, 1)])


def layer_of_small_files(files: int, seed: int) -> WriteLayer:
    def write(layer: LayerWriter) -> None:
        chance = random.Random(seed)
        writer = TarWriter(layer)
        top = b"d%d" % seed
        write_directory(writer, top)
        for number in range(files):
            place = top + b"/%04d" % (number // FILES_A_DIRECTORY)
            if number % FILES_A_DIRECTORY == 0:
                write_directory(writer, place)
            write_file(writer, place + b"/f%d" % number, chance.randbytes(chance.randint(*SMALL_FILE_BYTES)))
        writer.finish()

    return write


def write_host_layer(layer: LayerWriter, paths: Iterator[str]) -> None:
    writer = TarWriter(layer)
    for path in paths:
        write_file(writer, path.lstrip("/").encode(errors="surrogateescape"), Path(path).read_bytes())
        if layer.size_bytes >= LARGE_BYTES // LARGE_LAYERS:
            break
    writer.finish()


def write_file(writer: TarWriter, path: bytes, data: bytes) -> None:
    writer.add(Entry(tar.FILE, path, b"", 0o644, 0, 0, 10**18, len(data), (0, 0)), (data,))


def write_directory(writer: TarWriter, path: bytes) -> None:
    writer.add(Entry(tar.DIRECTORY, path, b"", 0o755, 0, 0, 10**18, 0, (0, 0)))


def list_host_files() -> Iterator[str]:
    """Plain files of this machine, in a fixed order, no file twice."""
    names = itertools.chain.from_iterable(walk_sorted(top) for top in _FILES_FROM)
    return (path for path in dict.fromkeys(names) if is_fitting(path))


def walk_sorted(top: str) -> Iterator[str]:
    for directory, names, files in os.walk(top):
        names.sort()
        yield from (f"{directory}/{name}" for name in sorted(files))


def is_fitting(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) <= _FILE_BYTES_MAX


def push(layout: Layout, name: str, reference: str) -> None:
    client = RegistryClient()
    try:
        push_image(layout, name, client, reference)
    finally:
        client.close()
