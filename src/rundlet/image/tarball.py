"""tarball: root file systems as an image: each tar is a layer, bottom first; read only."""

import os
from contextlib import AbstractContextManager
from typing import NamedTuple

from rundlet.archive.compression import open_decompressed
from rundlet.errors import NotFound
from rundlet.image.documents import make_document
from rundlet.image.files import open_file
from rundlet.image.location import Location
from rundlet.image.transport import Chunks, Document, Source
from rundlet.kernel.failure import translating
from rundlet.spec import mediatype
from rundlet.spec.descriptor import Descriptor, host_platform
from rundlet.spec.digest import Digest, digest_hasher
from rundlet.spec.image import History, ImageConfig, RootFs
from rundlet.spec.json import encode


class _Layer(NamedTuple):
    path: str
    blob: Descriptor
    diff_id: str
    created: str


class TarballSource(Source):
    """The image is dated as its newest file, so that equal files give an equal image."""

    def __init__(self, location: Location) -> None:
        self.name = str(location)
        self._layers = [_read_layer(path) for path in location.paths]
        config = _make_config(self._layers)
        self._config = encode(config)
        blob = Descriptor(mediatype.OCI_CONFIG, str(Digest.of(self._config)), len(self._config))
        self._document = make_document(
            {
                "schemaVersion": 2,
                "mediaType": mediatype.OCI_MANIFEST,
                "config": blob,
                "layers": [layer.blob for layer in self._layers],
            }
        )

    def read_manifest(self, digest: Digest | None = None) -> Document:
        if digest not in (None, self._document.digest):
            raise NotFound(f"{self.name}: there is no manifest {digest}")
        return self._document

    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        from contextlib import nullcontext

        if blob.parsed_digest() == Digest.of(self._config, blob.parsed_digest().algorithm):
            return nullcontext(iter((self._config,)))
        for layer in self._layers:
            if layer.blob.digest == blob.digest:
                return open_file(layer.path, blob, f"{self.name}: {layer.path}")
        raise NotFound(f"{self.name}: there is no blob {blob.digest}")


def _read_layer(path: str) -> _Layer:
    packed, plain = digest_hasher("sha256"), digest_hasher("sha256")
    size_bytes = 0
    with translating(f"tarball {path}"), open(path, "rb") as file:
        mtime_s = os.fstat(file.fileno()).st_mtime
        head = file.read(2)
        file.seek(0)
        while chunk := file.read(1 << 20):
            packed.update(chunk)
            size_bytes += len(chunk)
        file.seek(0)
        for chunk in open_decompressed(file):
            plain.update(chunk)
    compression = {b"\x1f\x8b": "gzip", b"\x28\xb5": "zstd"}.get(head, "")
    media_type = str(mediatype.LayerType(mediatype.OCI_LAYER, compression))
    blob = Descriptor(media_type, f"sha256:{packed.hexdigest()}", size_bytes)
    return _Layer(path, blob, f"sha256:{plain.hexdigest()}", _format_time(mtime_s))


def _format_time(seconds: float) -> str:
    import time

    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch) if epoch.isdigit() else seconds))


def _make_config(layers: list[_Layer]) -> ImageConfig:
    platform = host_platform()
    return ImageConfig(
        rootfs=RootFs("layers", tuple(layer.diff_id for layer in layers)),
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        created=max(layer.created for layer in layers),
        history=tuple(
            History(created=layer.created, created_by=f"tarball {os.path.basename(layer.path)}")
            for layer in layers
        ),
    )
