"""A layer's bytes on the way from one place to another: unpacked, packed, encrypted, measured.

    source ─▶ decrypt ─▶ decompress ─▶ compress ─▶ encrypt ─▶ destination
                                │
                                └▶ diff id

Every step is an iterator of chunks; nothing is ever held as a whole.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Final

from isal import isal_zlib

from rundlet.archive.compression import open_decompressed
from rundlet.errors import DataLoss, InvalidArgument
from rundlet.image.plan import Packing
from rundlet.image.transport import Chunks
from rundlet.spec.digest import digest_hasher

_GZIP_WINDOW: Final = 31  # zlib's word for "gzip, 32 KiB window"
# isal's strongest level: about the size of zlib's level 4, five times as fast.
_ISAL_LEVEL: Final = 3
_ZSTD_LEVEL: Final = 3
# How much is decompressed at a time, whatever the ratio.
_PLAIN_BYTES: Final = 1 << 20


def pack(chunks: Chunks, packing: Packing) -> Chunks:
    """`chunks` compressed; the same content and packing give the same bytes (no time, no name)."""
    if not packing.format:
        return chunks
    return (_pack_gzip if packing.format == "gzip" else _pack_zstd)(chunks, packing.level)


def _pack_gzip(chunks: Chunks, level: int) -> Chunks:
    if level:
        packer = zlib.compressobj(level, wbits=_GZIP_WINDOW)
        return _pump(chunks, packer.compress, packer.flush)
    fast = isal_zlib.compressobj(_ISAL_LEVEL, wbits=_GZIP_WINDOW)
    return _pump(chunks, fast.compress, fast.flush)


def _pack_zstd(chunks: Chunks, level: int) -> Chunks:
    import zstandard

    packer = zstandard.ZstdCompressor(level=level or _ZSTD_LEVEL).compressobj()
    return _pump(chunks, packer.compress, packer.flush)


def _pump(chunks: Chunks, feed: Callable[[bytes], bytes], flush: Callable[[], bytes]) -> Chunks:
    for chunk in chunks:
        if data := feed(chunk):
            yield data
    yield flush()


class ChunkReader:
    """Chunks as something with `read`."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        data, self._left = self._left[:size], self._left[size:]
        return bytes(data)


def unpack(chunks: Chunks) -> Chunks:
    """`chunks` decompressed, whatever they are; the source is read to its end, so that it is verified."""
    yield from open_decompressed(ChunkReader(chunks))
    for _rest in chunks:
        pass


class Meter:
    """The digest and size of what flows through `measure`."""

    def __init__(self) -> None:
        self._hasher = digest_hasher("sha256")
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"

    def measure(self, chunks: Chunks) -> Iterator[bytes]:
        for chunk in chunks:
            self._hasher.update(chunk)
            self.size_bytes += len(chunk)
            yield chunk


def check_diff_id(chunks: Chunks, diff_id: str, what: str) -> Chunks:
    """Plain content passed on; DataLoss at its end when it is not what the config says."""
    hasher = digest_hasher(diff_id.partition(":")[0])
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != diff_id.partition(":")[2]:
        raise DataLoss(f"{what}: it unpacks to another diff id than the {diff_id} of the config")


class PlainMeter:
    """The diff id of a gzipped layer that passes by as it is (schema 1 knows no other layers)."""

    def __init__(self) -> None:
        self._hasher = digest_hasher("sha256")
        self._decoder = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def diff_id(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"

    def measure(self, chunks: Chunks) -> Chunks:
        for chunk in chunks:
            self._feed(chunk)
            yield chunk
        if not self._decoder.eof:
            raise InvalidArgument("gzip data ends early")

    def _feed(self, data: bytes) -> None:
        while data:
            if self._decoder.eof:
                self._decoder = zlib.decompressobj(_GZIP_WINDOW)
            try:
                self._hasher.update(self._decoder.decompress(data, _PLAIN_BYTES))
            except zlib.error as error:
                raise InvalidArgument(f"gzip data is broken: {error}") from error
            data = self._decoder.unused_data or self._decoder.unconsumed_tail
