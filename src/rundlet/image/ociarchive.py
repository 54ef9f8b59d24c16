"""oci-archive: an OCI layout (drawn in `layout`) as one tar; `-` is stdin or stdout.

Read, the archive's members stay where they are; written, the layout is made in a temporary
directory first, since sizes and digests are known only then.
"""

import os
import tempfile
from contextlib import AbstractContextManager
from typing import IO

from rundlet.archive.pack import Member as PackMember
from rundlet.archive.pack import Writable, write_tar
from rundlet.errors import DataLoss
from rundlet.image.documents import describe_referrer, find_subject
from rundlet.image.location import Location
from rundlet.image.oci import LayoutDestination, find_entry, name_entries
from rundlet.image.tarindex import open_archive, replacing
from rundlet.image.transport import Chunks, Document, Source
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.document import parse_document
from rundlet.spec.manifest import Index


class ArchiveSource(Source):
    def __init__(self, location: Location, temporary: str | None = None) -> None:
        self.name = str(location)
        self._location = location
        self._archive = open_archive(location.path, streamed=location.streamed, directory=temporary)

    def _index(self) -> Index:
        return parse_document(self._archive.read("index.json"), Index, f"{self.name}: index.json")

    def _read(self, digest: Digest, media_type: str) -> Document:
        raw = self._archive.read(_blob_path(digest))
        if Digest.of(raw, digest.algorithm) != digest:
            raise DataLoss(f"{self.name}: manifest {digest}: the content has another digest")
        return Document(raw, media_type, digest)

    def read_manifest(self, digest: Digest | None = None) -> Document:
        if digest is not None:
            return self._read(digest, "")
        entry = find_entry(self._index(), self._location)
        return self._read(entry.parsed_digest(), entry.media_type)

    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        digest = blob.parsed_digest()
        member = self._archive.need(_blob_path(digest))
        return self._archive.open_verified(member, digest, f"{self.name}: blob {digest}")

    def list_referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        documents = [self._read(entry.parsed_digest(), entry.media_type) for entry in self._index().manifests]
        return tuple(
            describe_referrer(document) for document in documents if find_subject(document) == str(digest)
        )

    def list_tags(self) -> list[str]:
        return name_entries(self._index())

    def close(self) -> None:
        self._archive.close()


def _blob_path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


class ArchiveDestination(LayoutDestination):
    """The archive is written whole, in place of the one that is there."""

    def __init__(
        self, location: Location, *, accept_plain: bool = False, temporary: str | None = None
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rundlet-", dir=temporary)
        super().__init__(location, accept_plain=accept_plain, path=self._directory.name)
        self._target = location

    def commit(self) -> None:
        super().commit()
        with replacing(self._target.path, streamed=self._target.streamed) as out:
            pack_layout(self._directory.name, out)

    def close(self) -> None:
        self._directory.cleanup()


def pack_layout(directory: str, out: Writable | IO[bytes]) -> None:
    """A layout as an archive; the same layout gives the same bytes."""
    write_tar(_list_members(directory), out)


def _list_members(directory: str) -> list[PackMember]:
    members: list[PackMember] = []
    for path, names, files in os.walk(directory):
        relative = os.path.relpath(path, directory)
        inside = "" if relative == "." else f"{relative}/"
        members += [PackMember(f"{inside}{name}", 0o755) for name in names]
        members += [PackMember(f"{inside}{name}", 0o644, source=f"{path}/{name}") for name in files]
    return members
