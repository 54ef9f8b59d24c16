r"""dir: one image as plain files (containers/image, directory transport 1.1 and 1.2).

    <path>/version                  "Directory Transport Version: 1.1"
    <path>/manifest.json            the manifest, or the index
    <path>/<hex>.manifest.json      each image of an index
    <path>/<hex>                    config and layers; <algorithm>-<hex> when that is not sha256
    <path>/signature-<n>            of manifest.json, from 1 on
    <path>/<hex>-signature-<n>      of <hex>.manifest.json

A signature is OpenPGP data, or "\0sigstore-json\n" and a JSON object; the latter make it 1.2.
"""

import os
import threading
from contextlib import AbstractContextManager
from typing import Final

from rundlet.errors import DataLoss, FailedPrecondition, NotFound
from rundlet.image.documents import find_media_type
from rundlet.image.files import open_file, read_document, remove_file, write_document, write_file
from rundlet.image.location import Location
from rundlet.image.transport import (
    ANY_MANIFEST,
    Chunks,
    Content,
    Destination,
    Document,
    Source,
    Traits,
    Written,
)
from rundlet.kernel.failure import translating
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest

_VERSION_TEXT: Final = "Directory Transport Version: "
_SIGNATURES_MAX: Final = 128
SIGSTORE_MARK: Final = b"\0sigstore-json\n"


def _file_name(digest: Digest) -> str:
    return digest.hex if digest.algorithm == "sha256" else f"{digest.algorithm}-{digest.hex}"


class DirectorySource(Source):
    def __init__(self, location: Location) -> None:
        self.name = str(location)
        self._path = location.path

    def read_manifest(self, digest: Digest | None = None) -> Document:
        name = f"{_file_name(digest)}.manifest.json" if digest else "manifest.json"
        raw = read_document(f"{self._path}/{name}", self.name)
        algorithm = digest.algorithm if digest else "sha256"
        found = Digest.of(raw, algorithm)
        if digest is not None and found != digest:
            raise DataLoss(f"{self.name}: {name}: the content has digest {found}")
        return Document(raw, find_media_type(raw, ""), found)

    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        path = f"{self._path}/{_file_name(blob.parsed_digest())}"
        return open_file(path, blob, f"{self.name}: blob {blob.digest}")

    def read_signatures(self, digest: Digest) -> tuple[bytes, ...]:
        prefix = "" if self.read_manifest().digest == digest else f"{_file_name(digest)}-"
        found: list[bytes] = []
        while len(found) < _SIGNATURES_MAX:
            try:
                found.append(read_document(f"{self._path}/{prefix}signature-{len(found) + 1}", self.name))
            except NotFound:
                break
        return tuple(found)


class DirectoryDestination(Destination):
    """Replaces the image that is there; a directory of anything else is refused."""

    def __init__(self, location: Location) -> None:
        self.name = str(location)
        self.traits = Traits(ANY_MANIFEST, indexes=True, signatures=True)
        self._path = location.path
        self._lock = threading.Lock()
        self._kept = {"version", "manifest.json"}
        self._signatures: dict[Digest, tuple[bytes, ...]] = {}
        self._top: Document | None = None
        with translating(self.name):
            if os.path.exists(self._path) and os.listdir(self._path) and not self._is_image():
                raise FailedPrecondition(
                    f"{self.name}: the directory holds something else than an image",
                    hint="give an empty directory",
                )

    def begin(self) -> None:
        with translating(self.name):
            os.makedirs(self._path, exist_ok=True)
        write_document(f"{self._path}/version", f"{_VERSION_TEXT}1.1\n".encode())

    def _is_image(self) -> bool:
        try:
            return read_document(f"{self._path}/version", self.name).startswith(_VERSION_TEXT.encode())
        except NotFound:
            return False

    def _keep(self, name: str) -> str:
        with self._lock:
            self._kept.add(name)
        return f"{self._path}/{name}"

    def find_blob(self, blob: Descriptor) -> bool:
        name = _file_name(blob.parsed_digest())
        path = f"{self._path}/{name}"
        if not os.path.isfile(path) or os.path.getsize(path) != blob.size:
            return False
        self._keep(name)
        return True

    def put_blob(self, content: Content) -> Written:
        return write_file(self._path, content, lambda digest: self._keep(_file_name(digest)))

    def put_manifest(self, document: Document, *, top: bool) -> None:
        if top:
            self._top = document
        else:
            write_document(self._keep(f"{_file_name(document.digest)}.manifest.json"), document.raw)

    def put_signatures(self, digest: Digest, signatures: tuple[bytes, ...]) -> None:
        self._signatures[digest] = signatures

    def commit(self) -> None:
        """manifest.json comes last; what the former image left goes."""
        top = self._top
        if top is None:
            return
        for digest, signatures in self._signatures.items():
            prefix = "" if digest == top.digest else f"{_file_name(digest)}-"
            for number, signature in enumerate(signatures, 1):
                write_document(self._keep(f"{prefix}signature-{number}"), signature)
        if any(each.startswith(SIGSTORE_MARK) for found in self._signatures.values() for each in found):
            write_document(f"{self._path}/version", f"{_VERSION_TEXT}1.2\n".encode())
        write_document(f"{self._path}/manifest.json", top.raw)
        with translating(self.name):
            for name in set(os.listdir(self._path)) - self._kept:
                remove_file(f"{self._path}/{name}")

    def describe_blob(self, digest: str) -> str:
        return f"write {self._path}/{digest.removeprefix('sha256:').replace(':', '-') or '…'}"

    def describe_manifest(self, digest: str, *, top: bool) -> str:
        return f"write {self._path}/manifest.json" if top else f"{self.describe_blob(digest)}.manifest.json"
