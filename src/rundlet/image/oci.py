"""oci: images in an OCI layout; its tree is drawn in `layout`.

A layout may hold any number of images.  Which one is meant: the entry of index.json that
bears the name, the one at the position, or the only one that there is.  Referrers are
entries without a name.
"""

import os
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Final

from rundlet.errors import DataLoss, InvalidArgument, NotFound
from rundlet.image.documents import describe_referrer, find_subject
from rundlet.image.files import open_file, read_document, write_document, write_file
from rundlet.image.location import Location
from rundlet.image.transport import (
    Chunks,
    Content,
    Destination,
    Document,
    Source,
    Traits,
    Written,
)
from rundlet.kernel.failure import translating
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest
from rundlet.spec.document import parse_document
from rundlet.spec.json import encode
from rundlet.spec.manifest import Index

REF_NAME: Final = "org.opencontainers.image.ref.name"
_LAYOUT_FILE: Final = b'{"imageLayoutVersion":"1.0.0"}'


class Tree:
    """The directories of one layout; `shared` holds blobs of several layouts instead of blobs/."""

    def __init__(self, path: str, name: str, shared: str = "") -> None:
        self.path = path
        self.name = name
        self.blobs = shared or f"{path}/blobs"

    def blob_path(self, digest: Digest) -> str:
        return f"{self.blobs}/{digest.algorithm}/{digest.hex}"

    def read_index(self) -> Index:
        raw = read_document(f"{self.path}/index.json", self.name)
        return parse_document(raw, Index, f"{self.path}/index.json")

    def read_manifest(self, entry: Descriptor) -> Document:
        digest = entry.parsed_digest()
        raw = read_document(self.blob_path(digest), f"{self.name}: manifest {digest}")
        if Digest.of(raw, digest.algorithm) != digest:
            raise DataLoss(f"{self.name}: manifest {digest}: the content has another digest")
        return Document(raw, entry.media_type, digest)


def find_entry(index: Index, location: Location) -> Descriptor:
    """The entry that `location` means; NotFound and InvalidArgument say what there is instead."""
    entries = index.manifests
    if location.name:
        for entry in entries:
            if entry.annotations.get(REF_NAME) == location.name:
                return entry
        raise NotFound(f"{location}: no image has this name", hint=_name_all(entries))
    if location.position >= len(entries):
        raise NotFound(f"{location}: there are only {len(entries)} images")
    if location.position < 0 and len(entries) != 1:
        raise InvalidArgument(f"{location}: it holds {len(entries)} images", hint=_name_all(entries))
    return entries[max(location.position, 0)]


def _name_all(entries: Iterable[Descriptor]) -> str:
    names = [entry.annotations.get(REF_NAME, "") for entry in entries]
    known = ", ".join(name for name in names if name)
    return f"name one of {known}" if known else "choose one by @0, @1, …"


def name_entries(index: Index) -> list[str]:
    """The names in a layout, each once."""
    names = (entry.annotations.get(REF_NAME, "") for entry in index.manifests)
    return sorted({name for name in names if name})


class LayoutSource(Source):
    """`path` is where the layout lies when it is not at the location's own (an unpacked archive)."""

    def __init__(self, location: Location, shared: str = "", path: str = "") -> None:
        self.name = str(location)
        self._location = location
        self._tree = Tree(path or location.path, self.name, shared)

    def read_manifest(self, digest: Digest | None = None) -> Document:
        if digest is not None:
            return self._tree.read_manifest(Descriptor("", str(digest), 0))
        return self._tree.read_manifest(find_entry(self._tree.read_index(), self._location))

    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        path = self._tree.blob_path(blob.parsed_digest())
        return open_file(path, blob, f"{self.name}: blob {blob.digest}")

    def list_referrers(self, digest: Digest) -> tuple[Descriptor, ...]:
        documents = [self._tree.read_manifest(entry) for entry in self._tree.read_index().manifests]
        return tuple(
            describe_referrer(document) for document in documents if find_subject(document) == str(digest)
        )

    def list_tags(self) -> list[str]:
        return name_entries(self._tree.read_index())


class LayoutDestination(Destination):
    """Writes into a layout, made when missing; what is there already stays."""

    def __init__(
        self, location: Location, *, shared: str = "", accept_plain: bool = False, path: str = ""
    ) -> None:
        if location.position >= 0:
            raise InvalidArgument(f"{location}: an index chooses an image to read, not to write")
        self.name = str(location)
        self.traits = Traits(
            (mediatype.OCI_MANIFEST,),
            tolerated=(mediatype.DOCKER_MANIFEST,),
            indexes=True,
            layers="any" if accept_plain else "compressed",
            referrers=True,
        )
        self._location = location
        self._tree = Tree(path or location.path, self.name, shared)
        self._lock = threading.Lock()
        self._entries: dict[str, Descriptor] = {}

    def begin(self) -> None:
        with translating(self.name):
            os.makedirs(f"{self._tree.path}/blobs/sha256", exist_ok=True)
            os.makedirs(self._tree.blobs, exist_ok=True)

    def find_blob(self, blob: Descriptor) -> bool:
        path = self._tree.blob_path(blob.parsed_digest())
        return os.path.isfile(path) and os.path.getsize(path) == blob.size

    def put_blob(self, content: Content) -> Written:
        return write_file(self._tree.blobs, content, self._tree.blob_path)

    def put_manifest(self, document: Document, *, top: bool) -> None:
        path = self._tree.blob_path(document.digest)
        with translating(self.name):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        write_document(path, document.raw)
        with self._lock:
            if top:
                names = {REF_NAME: self._location.name} if self._location.name else {}
                self._entries[str(document.digest)] = _with_annotations(document.describe(), names)
            elif find_subject(document):
                self._entries[str(document.digest)] = describe_referrer(document)

    def commit(self) -> None:
        write_document(f"{self._tree.path}/oci-layout", _LAYOUT_FILE)
        new = {(entry.digest, entry.annotations.get(REF_NAME, "")) for entry in self._entries.values()}
        names = {name for _, name in new if name}
        kept = [
            entry
            for entry in self._read_entries()
            if (name := entry.annotations.get(REF_NAME, "")) not in names and (entry.digest, name) not in new
        ]
        index = Index(2, (*kept, *self._entries.values()), media_type=mediatype.OCI_INDEX)
        write_document(f"{self._tree.path}/index.json", encode(index))

    def _read_entries(self) -> tuple[Descriptor, ...]:
        try:
            return self._tree.read_index().manifests
        except NotFound:
            return ()

    def describe_blob(self, digest: str) -> str:
        return f"write {self._tree.blobs}/{digest.replace(':', '/') or 'sha256/…'}"

    def describe_manifest(self, digest: str, *, top: bool) -> str:
        name = f", index.json names it {self._location.name!r}" if top and self._location.name else ""
        return f"{self.describe_blob(digest)}{name}"


def _with_annotations(entry: Descriptor, annotations: dict[str, str]) -> Descriptor:
    return Descriptor(entry.media_type, entry.digest, entry.size, annotations=annotations)
