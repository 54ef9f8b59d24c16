"""OCI image layouts: an image as a directory (image-spec, image-layout.md).

oci-layout              {"imageLayoutVersion": "1.0.0"}
index.json              manifests, each named by org.opencontainers.image.ref.name
blobs/sha256/<hex>
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from isal import isal_zlib

from rundlet.errors import InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, digest_hasher
from rundlet.spec.json import encode
from rundlet.spec.manifest import Index, parse_manifest

_REF_NAME: Final = "org.opencontainers.image.ref.name"
_GZIP: Final = 31  # zlib's window bits that mean "gzip, 32 KiB window"
_GZIP_LEVEL: Final = 1  # isal's levels 1 to 3 differ little in size


class Layout:
    """One layout; made when missing.  Blobs come first, then `publish` names a manifest."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        with translating(f"layout {directory}"):
            os.makedirs(f"{directory}/blobs/sha256", exist_ok=True)
            self._write("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def blob_path(self, digest: Digest) -> str:
        return f"{self._directory}/blobs/{digest.algorithm}/{digest.hex}"

    def read(self, digest: Digest) -> bytes:
        """A whole blob, for documents; NotFound when it is not there."""
        with translating(f"blob {digest}"), open(self.blob_path(digest), "rb") as file:
            return file.read()

    def add_document(self, value: object, media_type: str) -> Descriptor:
        """Keep a JSON document."""
        raw = encode(value)
        digest = Digest.of(raw)
        self._write(f"blobs/sha256/{digest.hex}", raw)
        return Descriptor(media_type, str(digest), len(raw))

    @contextmanager
    def add_layer(self) -> "Iterator[LayerWriter]":
        """A file to write a tar to; at the end of the block it is there, gzipped."""
        temporary = f"{self._directory}/blobs/.new-{secrets.token_hex(8)}"
        with translating(f"layout {self._directory}"), open(temporary, "xb") as file:
            try:
                writer = LayerWriter(file)
                yield writer
                writer.finish()
                file.flush()
                os.rename(temporary, self.blob_path(writer.digest))
            except BaseException:
                os.unlink(temporary)
                raise

    def publish(self, manifest: Descriptor, name: str) -> None:
        """Name `manifest` in the index, in place of what had the name."""
        named = Descriptor(manifest.media_type, manifest.digest, manifest.size, annotations={_REF_NAME: name})
        others = [each for each in self._manifests() if each.annotations.get(_REF_NAME) != name]
        index = Index(schema_version=2, manifests=(*others, named))
        self._write("index.json", encode(index))

    def find(self, name: str) -> Descriptor:
        """The manifest that the index names `name`; NotFound when there is none."""
        for descriptor in self._manifests():
            if descriptor.annotations.get(_REF_NAME) == name:
                return descriptor
        raise NotFound(f"layout {self._directory} has no image named {name!r}")

    def _manifests(self) -> tuple[Descriptor, ...]:
        what = f"{self._directory}/index.json"
        try:
            with open(what, "rb") as file:
                document = parse_manifest(file.read(), what=what)
        except FileNotFoundError:
            return ()
        if not isinstance(document, Index):
            raise InvalidArgument(f"{what} is not an index")
        return document.manifests

    def _write(self, name: str, data: bytes) -> None:
        temporary = f"{self._directory}/.new-{secrets.token_hex(8)}"
        with translating(f"layout {self._directory}"):
            with open(temporary, "xb") as file:
                file.write(data)
            os.rename(temporary, f"{self._directory}/{name}")


class LayerWriter:
    """Compresses what is written and hashes it on both sides of the compression."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._gzip = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
        self._plain = digest_hasher("sha256")
        self._packed = digest_hasher("sha256")
        self.size_bytes = 0

    def write(self, data: bytes, /) -> int:
        self._plain.update(data)
        self._put(self._gzip.compress(data))
        return len(data)

    def finish(self) -> None:
        self._put(self._gzip.flush())

    @property
    def diff_id(self) -> Digest:
        """Of what was written."""
        return Digest("sha256", self._plain.hexdigest())

    @property
    def digest(self) -> Digest:
        """Of what the file holds, after `finish`."""
        return Digest("sha256", self._packed.hexdigest())

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self.size_bytes += len(data)
        self._file.write(data)
