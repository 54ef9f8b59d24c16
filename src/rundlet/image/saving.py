"""Images of the store into one archive or layout, and back: `docker save` and `docker load`."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rundlet.errors import InvalidArgument
from rundlet.image.api import copy_image
from rundlet.image.contents import keep_stream, list_archive
from rundlet.image.copy import CopyResult, run_copy
from rundlet.image.dockerarchive import ArchiveDraft, DockerArchiveDestination
from rundlet.image.location import Location
from rundlet.image.oci import LayoutDestination
from rundlet.image.ociarchive import pack_layout
from rundlet.image.place import Host, open_destination, open_source
from rundlet.image.plan import CopyOptions
from rundlet.image.planner import plan_copy
from rundlet.image.progress import CopyWatcher
from rundlet.image.storage import find_image, name_in_full
from rundlet.image.tarindex import replacing
from rundlet.image.transport import Destination
from rundlet.spec.reference import parse_reference

KINDS: Final = ("docker-archive", "oci-archive", "oci-dir", "docker-dir")

# Where the image with this name is to go.
_OpenFor = Callable[[str], Destination]


def save_images(
    host: Host,
    images: Sequence[str],
    path: str,
    kind: str = "docker-archive",
    *,
    watch: CopyWatcher = lambda _progress: None,
) -> list[CopyResult]:
    """Write images of the store, by name or id, to `path` ("-" is stdout); layers they share are there once.

    Raises NotFound, and InvalidArgument where several images do not go together.
    """
    if kind == "docker-dir" and len(images) > 1:
        raise InvalidArgument("a docker-dir holds one image", hint=f"use another of {', '.join(KINDS)}")
    named = [(image, _choose_name(host, image)) for image in images]
    with _OPENERS[kind](host, path) as open_for:
        return [_save_one(host, image, open_for(name), watch) for image, name in named]


def load_images(
    host: Host, path: str, *, watch: CopyWatcher = lambda _progress: None
) -> Iterator[tuple[str, ...]]:
    """Read all images of an archive ("-" is stdin), of either kind, into the store; the names of each.

    One without a name is called localhost/loaded:NUMBER.
    """
    with tempfile.TemporaryDirectory(prefix="rundlet-", dir=host.temporary) as directory:
        found = list_archive(keep_stream(path, directory), host.temporary)
        for number, (location, names) in enumerate(found):
            first, *others = names or (f"localhost/loaded:{number}",)
            copy_image(host, location, Location("containers-storage", name=first), watch=watch)
            for name in others:
                host.store.images.tag(find_image(host.store, first).id, name)
            yield (first, *others)


def _choose_name(host: Host, image: str) -> str:
    """The name as it was asked for, else the image's first, "" for an image without any."""
    found = find_image(host.store, image)
    asked = [name for name in found.names if name == name_in_full(image)]
    return next(iter((*asked, *found.names)), "")


def _save_one(host: Host, image: str, destination: Destination, watch: CopyWatcher) -> CopyResult:
    location, options = Location("containers-storage", name=image), CopyOptions()
    source = open_source(host, location)
    try:
        plan = plan_copy(source, destination, options, host.judge(location, source))
        return run_copy(plan, source, destination, options, watch=watch)
    finally:
        destination.close()
        source.close()


@contextmanager
def _docker_archive(host: Host, path: str) -> Iterator[_OpenFor]:
    target = Location("docker-archive", path)
    draft = ArchiveDraft(host.temporary)

    def open_for(name: str) -> Destination:
        reference = parse_reference(name) if name else None
        return DockerArchiveDestination(target._replace(reference=reference), draft=draft)

    try:
        yield open_for
        with replacing(path, streamed=target.streamed) as out:
            draft.write_to(out)
    finally:
        draft.close()


@contextmanager
def _oci_archive(host: Host, path: str) -> Iterator[_OpenFor]:
    with tempfile.TemporaryDirectory(prefix="rundlet-", dir=host.temporary) as directory:
        yield lambda name: LayoutDestination(Location("oci-archive", path, name=name), path=directory)
        with replacing(path, streamed=Location("oci-archive", path).streamed) as out:
            pack_layout(directory, out)


@contextmanager
def _oci_dir(host: Host, path: str) -> Iterator[_OpenFor]:
    yield lambda name: open_destination(host, Location("oci", path, name=name))


@contextmanager
def _docker_dir(host: Host, path: str) -> Iterator[_OpenFor]:
    yield lambda _name: open_destination(host, Location("dir", path))


_OPENERS: Final = dict(zip(KINDS, (_docker_archive, _oci_archive, _oci_dir, _docker_dir), strict=True))
