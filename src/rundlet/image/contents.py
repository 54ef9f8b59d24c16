"""What an archive of unknown kind holds: `docker save`'s, or an OCI layout as a tar."""

import shutil
import sys
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.image.dockerarchive import read_items
from rundlet.image.location import STREAMS, Location
from rundlet.image.oci import REF_NAME
from rundlet.image.tarindex import open_archive
from rundlet.kernel.failure import translating
from rundlet.spec.document import parse_document
from rundlet.spec.manifest import Index


class Held(NamedTuple):
    """One image of an archive; `names` may be empty."""

    location: Location
    names: tuple[str, ...]


def keep_stream(path: str, directory: str) -> str:
    """`path`, or a file in `directory` with all of stdin when it means that."""
    if path not in STREAMS:
        return path
    kept = f"{directory}/stdin"
    with translating("stdin"), open(kept, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        if not file.tell():
            raise InvalidArgument("stdin: empty, where an archive was expected")
    return kept


def list_archive(path: str, temporary: str | None = None) -> list[Held]:
    """The images of the archive at `path`; NotFound when it holds neither kind's table."""
    archive = open_archive(path, directory=temporary)
    try:
        if archive.find("manifest.json") is not None:
            return [
                Held(Location("docker-archive", path, position=number), item.repo_tags)
                for number, item in enumerate(read_items(archive))
            ]
        index = parse_document(archive.read("index.json"), Index, f"{path}: index.json")
    finally:
        archive.close()
    names = [entry.annotations.get(REF_NAME, "") for entry in index.manifests]
    return [
        Held(Location("oci-archive", path, position=number), (name,) if name else ())
        for number, name in enumerate(names)
    ]
