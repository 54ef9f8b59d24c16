"""Layer compression: gzip, zstd or none, told apart by their first bytes.

The media type of a layer is not asked: registries hold layers whose type and
content disagree, and the bytes are what the diff id is computed from.
"""

from collections.abc import Iterator
from typing import IO, Final, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from rundlet.errors import InvalidArgument

# Measured with isal on 40 copies of libc: 128 kB to 256 kB in and 256 kB to 512 kB out is the
# plateau (580 MB/s); smaller costs a fifth, larger only memory.
_INPUT_BYTES: Final = 256 << 10
_OUTPUT_BYTES: Final = 512 << 10
# What a decoder may be made to allocate: zstd's --ultra and --long default.
_ZSTD_WINDOW_BYTES: Final = 128 << 20

# FLG bits of a gzip header, and what its texts may take before we stop looking for their end.
_FHCRC: Final = 2
_FEXTRA: Final = 4
_FNAME: Final = 8
_FCOMMENT: Final = 16
_HEADER_BYTES_MAX: Final = 1 << 20

_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GzipError = cast("type[Exception]", isal_zlib.error)  # its stub calls the class an instance


class Readable(Protocol):
    """What a layer is read from: `read(n)` gives at most n bytes, b"" at the end."""

    def read(self, size: int, /) -> bytes: ...


def open_decompressed(source: Readable) -> Iterator[bytes]:
    """The plain content of `source` in chunks of at most 512 KiB.

    A chunk is never larger whatever the ratio, so a bomb costs its reader no memory.
    Raises InvalidArgument when compressed data is broken.  A gzip stream that ends early is
    noticed here, a zstd stream (whose reader cannot tell) by the tar reader or the diff id.
    """
    head = _read_at_least(source, 4)
    if head.startswith(_GZIP_MAGIC):
        return _gunzip(head, source)
    if head.startswith(_ZSTD_MAGIC) or _is_skippable(head):
        return _decode_zstd(head, source)
    return _pass_through(head, source)


def _is_skippable(head: bytes) -> bool:
    """zstd's skippable frames begin with 0x184D2A50 … 5F (RFC 8878 §3.1.2)."""
    return len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"


def _read_at_least(source: Readable, size: int) -> bytes:
    head = source.read(_INPUT_BYTES)
    while len(head) < size:
        more = source.read(_INPUT_BYTES)
        if not more:
            break
        head += more
    return head


def _pass_through(head: bytes, source: Readable) -> Iterator[bytes]:
    while head:
        yield head
        head = source.read(_INPUT_BYTES)


def _gunzip(data: bytes, source: Readable) -> Iterator[bytes]:
    """All members of a gzip file (RFC 1952 §2.2); zero padding after the last is allowed."""
    while data:
        data = _read_header(data, source)
        decoder = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while not decoder.eof:
            if decoder.needs_input and not data:
                raise InvalidArgument("gzip data ends early")
            try:
                chunk = decoder.decompress(data, _OUTPUT_BYTES)
            except _GzipError as error:
                raise InvalidArgument(f"gzip data is broken: {error}") from error
            if chunk:
                yield chunk
            data = source.read(_INPUT_BYTES) if decoder.needs_input and not decoder.eof else b""
        data = _next_member(decoder.unused_data, source)


def _read_header(data: bytes, source: Readable) -> bytes:
    """`data` and as much more of `source` as it takes to hold the member's whole header.

    isal 1.9 mistakes the name or the sum of a header that comes in two parts for deflate data.
    """
    while not _has_header(data):
        more = source.read(_INPUT_BYTES)
        if not more or len(data) > _HEADER_BYTES_MAX:
            raise InvalidArgument("gzip data ends early, in a header")
        data += more
    return data


def _has_header(data: bytes) -> bool:
    """Whether `data` holds all of the header it begins with (RFC 1952 §2.3)."""
    end = 10
    if len(data) < end:
        return False
    flags = data[3]
    if flags & _FEXTRA:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for text in (_FNAME, _FCOMMENT):
        if flags & text:
            end = data.find(b"\0", end) + 1
            if not end:
                return False
    return len(data) >= end + (2 if flags & _FHCRC else 0)


def _next_member(data: bytes, source: Readable) -> bytes:
    """`data` from the next member's first byte, b"" when only padding is left."""
    data = data.lstrip(b"\0")
    while not data:
        data = source.read(_INPUT_BYTES)
        if not data:
            return b""
        data = data.lstrip(b"\0")
    if not data.startswith(_GZIP_MAGIC[: len(data)]):
        raise InvalidArgument("gzip data is followed by something else")
    return data


class _Prefixed:
    """`source` with the bytes that were looked at put back."""

    def __init__(self, head: bytes, source: Readable) -> None:
        self._head = head
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._source.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


def _decode_zstd(head: bytes, source: Readable) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    prefixed = cast("IO[bytes]", _Prefixed(head, source))
    reader = decoder.stream_reader(prefixed, read_size=_INPUT_BYTES, read_across_frames=True)
    while True:
        try:
            chunk = reader.read(_OUTPUT_BYTES)
        except zstandard.ZstdError as error:
            raise InvalidArgument(f"zstd data is broken: {error}") from error
        if not chunk:
            return
        yield chunk
