"""containers-storage: images in rundlet's own store, as pods use them.

What is put there is unpacked too: the image can run when `commit` has returned.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Never

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from rundlet.image.documents import find_media_type, parse
from rundlet.image.files import open_file, write_file
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
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, parse_digest
from rundlet.spec.image import parse_image_config
from rundlet.spec.manifest import Manifest
from rundlet.spec.reference import parse_reference
from rundlet.store.images import ImageRecord, NewImage
from rundlet.store.locks import Patience
from rundlet.store.store import Store


class StorageSource(Source):
    def __init__(self, location: Location, store: Store) -> None:
        self.name = str(location)
        self._store = store
        self._image = find_image(store, location.name)

    def read_manifest(self, digest: Digest | None = None) -> Document:
        digest = digest or parse_digest(self._image.manifest_digest)
        raw = self._store.blobs.read(digest)
        return Document(raw, find_media_type(raw, ""), digest)

    def open_blob(self, blob: Descriptor) -> AbstractContextManager[Chunks]:
        path = self._store.blobs.path(blob.parsed_digest())
        return open_file(path, blob, f"{self.name}: blob {blob.digest}")

    def list_tags(self) -> list[str]:
        return list(self._image.names)


def find_image(store: Store, name: str) -> ImageRecord:
    """The image by name, id or digest; NotFound."""
    image = store.images.find(name)
    if image is None:
        raise NotFound(f"no image {name!r} in the store", hint="rundlet image images lists what is here")
    return image


def name_in_full(name: str) -> str:
    """As the store keeps names; an id is no name: ""."""
    try:
        return str(parse_reference(name))
    except InvalidArgument:
        return ""


def remove_image(store: Store, name: str, *, force: bool = False) -> tuple[str, ...]:
    """Take the name away, and the image with its last one, or at once when an id was given; what went.

    Raises NotFound, FailedPrecondition for an image that containers use, unless `force`.
    """
    image = find_image(store, name)
    canonical = "" if name.removeprefix("sha256:") in image.id else name_in_full(name)
    if len(image.names) > 1 and canonical in image.names:
        store.images.untag(name)
        return (canonical,)
    if force:
        store.images.remove(image.id)
    elif not store.images.remove_unless_used(image.id):
        raise FailedPrecondition(f"image {name} is used by a container", hint="--force removes it")
    return (*image.names, image.id)


class _NoDownload:
    """Every blob was put before the layers are unpacked."""

    def download_blob(self, *args: Any, **_named: Any) -> Never:
        raise NotFound(f"blob {args[1].digest} is not in the store")


class StorageDestination(Destination):
    """What a copy that is cut off has brought is kept for the next one, but for one that had no room."""

    def __init__(self, location: Location, store: Store) -> None:
        self.name = str(location)
        self.traits = Traits(ANY_MANIFEST, encrypted=False)
        self._store = store
        self._reference = parse_reference(location.name)
        self._patience = Patience()
        self._documents: list[Document] = []
        self._brought: list[Digest] = []
        self._chains: list[str] = []
        self._full = False
        self._held = ExitStack()
        self._held.enter_context(store.bringing(self._patience))

    def find_blob(self, blob: Descriptor) -> bool:
        return self._store.blobs.find(blob.parsed_digest()) is not None

    def put_blob(self, content: Content) -> Written:
        blobs = self._store.blobs
        draft = blobs.draft_path()
        with self._noticing_full():
            written = write_file(os.path.dirname(draft), content, lambda _digest: draft)
            self._brought.append(written.digest)
            blobs.adopt_draft(draft, written.digest, written.size_bytes, self._patience)
        return written

    def put_manifest(self, document: Document, *, top: bool) -> None:  # noqa: ARG002
        self._documents.append(document)
        self._brought.append(document.digest)
        with self._noticing_full():
            self._store.blobs.put(document.raw, document.digest, self._patience)

    @contextmanager
    def _noticing_full(self) -> Iterator[None]:
        try:
            yield
        except ResourceExhausted as error:
            self._full |= isinstance(error.__cause__, OSError | sqlite3.Error)
            raise

    def commit(self) -> None:
        with self._noticing_full():
            self._commit()
        self._store.sync()

    def _commit(self) -> None:
        # what unpacks layers is not for those who only look at images
        from rundlet.image.layer import Source as LayerSource
        from rundlet.image.stack import LayerStack, plan_layers

        document = self._documents[-1]
        manifest = parse(document, self.name)
        if not isinstance(manifest, Manifest):
            raise InvalidArgument(f"{self.name}: an index is not an image that can run")
        raw = self._store.blobs.read(manifest.config.parsed_digest())
        config = parse_image_config(raw, f"config of {self.name}")
        source = LayerSource(_NoDownload(), self._reference, None, self._patience, lambda _progress: None)
        plans = plan_layers(manifest, config)
        self._chains = [plan.chain_id for plan in plans]
        layers = LayerStack(self._store, source).bring(plans)
        self._store.images.publish(
            NewImage(
                id=manifest.config.digest,
                name="" if self._reference.digest else str(self._reference),
                digest_reference=f"{self._reference.name}@{document.digest}",
                manifest_digest=str(document.digest),
                layers=tuple(layer.id for layer in layers),
                blobs=(
                    *(str(each.digest) for each in self._documents),
                    manifest.config.digest,
                    *(layer.digest for layer in manifest.layers),
                ),
            )
        )

    def close(self) -> None:
        if self._full:
            self._store.give_up(self._chains, self._brought)
        self._held.close()
        if self._full:
            self._store.settle()

    def describe_blob(self, digest: str) -> str:
        return f"keep {digest or 'the blob'} in the store, and unpack it if it is a layer"

    def describe_manifest(self, digest: str, *, top: bool) -> str:  # noqa: ARG002
        return f"keep {digest or 'the manifest'} in the store, named {self._reference}"
