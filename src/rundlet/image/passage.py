"""One blob on its way: what the plan says is done to its bytes, and what is known at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rundlet.image.files import verify_chunks
from rundlet.image.plan import BlobStep, CopyOptions, Packing
from rundlet.image.progress import CopyProgress, CopyWatcher
from rundlet.image.transport import Chunks, Content, Source, Written
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import parse_digest

if TYPE_CHECKING:
    from rundlet.image.chunked import ChunkedPacker
    from rundlet.image.encryption import Sealing
    from rundlet.image.recode import Meter, PlainMeter

# Annotations that describe the bytes of a layer: they hold no longer when those change.
_OF_THE_BYTES = (
    "io.github.containers.zstd-chunked.",
    "io.containers.zstd-chunked.",
    "containerd.io/snapshot/stargz/",
)


class Arrived(NamedTuple):
    """A blob at the destination; `diff_id` is "" unless the plan asked for it."""

    blob: Descriptor
    diff_id: str = ""


class Passage:
    """The way of one blob; `open` may be called again when an attempt breaks."""

    def __init__(self, source: Source, step: BlobStep, options: CopyOptions, watch: CopyWatcher) -> None:
        self._source = source
        self._step = step
        self._options = options
        self._watch = watch
        self._what = f"{source.name}: layer {step.blob.digest}"
        self._plain: PlainMeter | None = None
        self._inner: Meter | None = None
        self._sealing: Sealing | None = None
        self._chunked: ChunkedPacker | None = None

    def content(self) -> Content:
        """What the destination is to write; its digest is known when nothing changes on the way."""
        if self._step.action == "recode" and not self._keeps_bytes():
            return Content(self.open)
        return Content(self.open, self._step.blob.parsed_digest(), self._step.blob.size or -1)

    def _keeps_bytes(self) -> bool:
        return self._step.recode._replace(measure=False) == type(self._step.recode)()

    @contextmanager
    def open(self) -> Iterator[Chunks]:
        with self._source.open_blob(self._step.blob) as chunks:
            counted = self._count(chunks)
            yield self._recode(counted) if self._step.action == "recode" else counted

    def _count(self, chunks: Chunks) -> Chunks:
        blob, done = self._step.blob, 0
        for chunk in chunks:
            done += len(chunk)
            self._watch(CopyProgress(blob.digest, "copying", done, blob.size))
            yield chunk

    def _recode(self, chunks: Chunks) -> Chunks:
        from rundlet.image.recode import PlainMeter, check_diff_id, unpack

        recode = self._step.recode
        if recode.decrypt:
            chunks = self._decrypt(chunks)
        if recode.measure:
            self._plain = PlainMeter()
            chunks = self._plain.measure(chunks)
        if recode.unpack:
            chunks = unpack(chunks)
            if self._step.diff_id:
                chunks = check_diff_id(chunks, self._step.diff_id, self._what)
        if recode.packing:
            chunks = self._pack(chunks, recode.packing)
        return self._encrypt(chunks) if recode.encrypt else chunks

    def _decrypt(self, chunks: Chunks) -> Chunks:
        from rundlet.image import encryption

        opened = encryption.open_layer(self._step.blob.annotations, self._options.keys, self._what)
        plain = encryption.decrypt(chunks, opened, self._what)
        return verify_chunks(plain, parse_digest(opened.digest), self._what)

    def _pack(self, chunks: Chunks, packing: Packing) -> Chunks:
        if packing.chunked:
            from rundlet.image.chunked import ChunkedPacker

            self._chunked = ChunkedPacker(packing.level)
            return self._chunked.pack(chunks)
        from rundlet.image.recode import pack

        return pack(chunks, packing)

    def _encrypt(self, chunks: Chunks) -> Chunks:
        from rundlet.image.encryption import Sealing
        from rundlet.image.recode import Meter

        self._sealing, self._inner = Sealing(self._options.recipients), Meter()
        return self._sealing.encrypt(self._inner.measure(chunks))

    def finish(self, written: Written) -> Arrived:
        """The descriptor for the manifest, once the content has been written."""
        blob, step = self._step.blob, self._step
        digest = str(written.digest)
        if digest == blob.digest:
            size_bytes = blob.size or written.size_bytes
            return Arrived(
                _describe(blob, step.media_type, digest, size_bytes, blob.annotations), self._found_diff_id()
            )
        annotations = _strip(blob.annotations)
        if step.recode.decrypt:
            from rundlet.image.encryption import strip_annotations

            annotations = strip_annotations(annotations)
        if self._chunked:
            annotations |= self._chunked.annotations
        if self._sealing and self._inner:
            annotations |= self._sealing.annotations(self._inner.digest)
        described = _describe(blob, step.media_type, digest, written.size_bytes, annotations)
        return Arrived(described, self._found_diff_id())

    def _found_diff_id(self) -> str:
        return self._plain.diff_id if self._plain else ""


def _describe(
    blob: Descriptor, media_type: str, digest: str, size_bytes: int, annotations: dict[str, str]
) -> Descriptor:
    return Descriptor(media_type, digest, size_bytes, urls=blob.urls, annotations=annotations)


def _strip(annotations: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if not key.startswith(_OF_THE_BYTES)}


def unchanged(step: BlobStep) -> Arrived:
    """A blob that is at the destination as it was."""
    blob = step.blob
    return Arrived(_describe(blob, step.media_type, blob.digest, blob.size, blob.annotations))
