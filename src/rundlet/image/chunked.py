r"""zstd:chunked: a layer that is ordinary zstd, and a table of where each file's content begins.

    frame       tar header(s)                       each content is a frame by itself, so that it can
    frame       a file's content                    be read alone: bytes offset … endOffset of the blob
    frame       tar padding, the next headers
    …
    skippable   {"version": 1, "entries": […]}      the table, compressed by zstd
    skippable   offset, size, plain size of the table, 1, 0, 0, 0 (64 bits each), "GNUlInUx"

The layer's annotations say the same as the end: manifest-position "offset:size:plain size:1" and
manifest-checksum, the digest of the compressed table.  (containers/storage, pkg/chunked; a skippable
frame is the magic 50 2A 4D 18, a size of 32 bits, and as many bytes.)
"""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import zstandard
from msgspec import Struct

from rundlet.archive import tar
from rundlet.archive.stream import ByteStream
from rundlet.archive.tar import Entry, TarReader
from rundlet.errors import DataLoss, InvalidArgument, Unimplemented
from rundlet.image.transport import Chunks
from rundlet.spec.digest import Digest, digest_hasher
from rundlet.spec.document import parse_document
from rundlet.spec.json import encode

PREFIX: Final = "io.github.containers.zstd-chunked."
# What containers/storage wrote before 1.43.
FORMER_PREFIX: Final = "io.containers.zstd-chunked."
_CHECKSUM: Final = "manifest-checksum"
_POSITION: Final = "manifest-position"
_SKIPPABLE: Final = b"\x50\x2a\x4d\x18"
_MAGIC: Final = b"GNUlInUx"
_CRFS: Final = 1
_LEVEL: Final = 3
_TABLE_BYTES_MAX: Final = 64 << 20
_TYPES: Final = {
    tar.FILE: "reg",
    tar.HARDLINK: "hardlink",
    tar.SYMLINK: "symlink",
    tar.CHAR: "char",
    tar.BLOCK: "block",
    tar.DIRECTORY: "dir",
    tar.FIFO: "fifo",
}


class ChunkedPacker:
    """Packs one layer; `annotations` are for its descriptor, once all of it has been taken."""

    def __init__(self, level: int = 0) -> None:
        self._level = level or _LEVEL
        self._frame: Any = None
        self._written_bytes = 0
        self._entries: list[dict[str, Any]] = []
        self.annotations: dict[str, str] = {}

    def pack(self, chunks: Chunks) -> Chunks:
        """`chunks` (a tar) compressed; the same tar gives the same bytes.

        Raises InvalidArgument for what is no tar, Unimplemented for files that the table cannot tell.
        """
        for data in self._pack(chunks):
            self._written_bytes += len(data)
            if data:
                yield data

    def _pack(self, chunks: Chunks) -> Chunks:
        stream = _Recorder(chunks, sys.maxsize)
        reader = TarReader(stream)
        for entry in reader:
            yield self._feed(stream.take())
            described = _describe(entry)
            if entry.type == tar.FILE and entry.size_bytes:
                yield self._end_frame()
                described["offset"] = self._written_bytes
                hasher = digest_hasher("sha256")
                for piece in reader.data():
                    stream.take()
                    hasher.update(piece)
                    yield self._feed(bytes(piece))
                yield self._end_frame()
                described["endOffset"] = self._written_bytes
                described["digest"] = f"sha256:{hasher.hexdigest()}"
            self._entries.append(described)
        yield self._feed(stream.take())
        while rest := stream.read(1 << 20):
            yield self._feed(rest)
        yield self._end_frame()
        yield self._write_table()

    def _feed(self, data: bytes) -> bytes:
        if not data:
            return b""
        if self._frame is None:
            self._frame = zstandard.ZstdCompressor(level=self._level).compressobj()
        packed: bytes = self._frame.compress(data)
        return packed

    def _end_frame(self) -> bytes:
        frame, self._frame = self._frame, None
        return frame.flush() if frame else b""

    def _write_table(self) -> bytes:
        plain = encode({"version": 1, "entries": self._entries})
        packed = zstandard.ZstdCompressor(level=self._level).compress(plain)
        offset = self._written_bytes + len(_SKIPPABLE) + 4
        numbers = (offset, len(packed), len(plain), _CRFS)
        self.annotations = {
            f"{PREFIX}{_CHECKSUM}": str(Digest.of(packed)),
            f"{PREFIX}{_POSITION}": ":".join(map(str, numbers)),
        }
        end = b"".join(number.to_bytes(8, "little") for number in (*numbers, 0, 0, 0))
        return _skippable(packed) + _skippable(end + _MAGIC)


class _Recorder(ByteStream):
    """Keeps what was read, so that it can be passed on exactly as it was."""

    __slots__ = ("_seen",)

    def __init__(self, chunks: Iterator[bytes], limit_bytes: int) -> None:
        super().__init__(chunks, limit_bytes)
        self._seen: list[bytes] = []

    def take(self) -> bytes:
        """What has been read since the last time."""
        seen, self._seen = b"".join(self._seen), []
        return seen

    def read(self, size: int) -> bytes:
        data = super().read(size)
        self._seen.append(data)
        return data

    def pieces(self, size: int) -> Iterator[memoryview]:
        for piece in super().pieces(size):
            self._seen.append(bytes(piece))
            yield piece

    def skip(self, size: int) -> None:
        for _piece in self.pieces(size):
            pass


def _skippable(data: bytes) -> bytes:
    return _SKIPPABLE + len(data).to_bytes(4, "little") + data


def _describe(entry: Entry) -> dict[str, Any]:
    """An entry as the table has it, but for its content; members without a value are left out."""
    if entry.segments is not None:
        raise Unimplemented(f"archive member {entry.path!r} is sparse: zstd:chunked has no form for it")
    major, minor = entry.device
    told = {
        "type": _TYPES[entry.type],
        "name": _text(entry.path) or "/",
        "linkName": _text(entry.link) if entry.type in (tar.SYMLINK, tar.HARDLINK) else "",
        "mode": entry.mode & 0o7777,
        "size": entry.size_bytes if entry.type == tar.FILE else 0,
        "uid": entry.uid,
        "gid": entry.gid,
        "modtime": _write_time(entry.mtime_ns),
        "devMajor": major,
        "devMinor": minor,
        "xattrs": {key: _base64(value) for key, value in entry.xattrs},
    }
    return {key: value for key, value in told.items() if value or key in ("type", "name")}


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise Unimplemented(f"archive member {name!r}: zstd:chunked knows names in UTF-8 only") from error


def _base64(data: bytes) -> str:
    from rundlet.spec.base64 import encode_base64

    return encode_base64(data)


def _write_time(time_ns: int) -> str:
    """RFC 3339; "" for times that it has no form for."""
    seconds, fraction = divmod(time_ns, 10**9)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError):
        return ""
    return f"{text}.{fraction:09d}Z" if fraction else f"{text}Z"


# --- read ---------------------------------------------------------------------


class TableEntry(Struct, frozen=True, rename="camel"):
    """One member of the layer, or with type "chunk" a further part of the file before it.

    Bytes `offset` to `end_offset` of the blob are the zstd frames of a file's content.
    """

    type: str
    name: str
    link_name: str = ""
    mode: int = 0
    size: int = 0
    digest: str = ""
    offset: int = 0
    end_offset: int = 0


class Table(Struct, frozen=True):
    version: int
    entries: tuple[TableEntry, ...]


class Position(NamedTuple):
    """Where the table lies in the blob; all in bytes."""

    offset: int
    size_bytes: int
    plain_bytes: int


def is_chunked(annotations: dict[str, str]) -> bool:
    """Whether a layer's annotations say where its table is."""
    return any(f"{prefix}{_POSITION}" in annotations for prefix in (PREFIX, FORMER_PREFIX))


def read_table(read_at: Callable[[int, int], bytes], annotations: dict[str, str], what: str) -> Table:
    """The table of a layer, verified; `read_at(offset, size)` gives bytes of its blob.

    Raises InvalidArgument for annotations or a table that are malformed, DataLoss when the table is
    not the one that the annotations mean.
    """
    prefix = PREFIX if f"{PREFIX}{_POSITION}" in annotations else FORMER_PREFIX
    position = _parse_position(annotations.get(f"{prefix}{_POSITION}", ""), what)
    packed = read_at(position.offset, position.size_bytes)
    if str(Digest.of(packed)) != annotations.get(f"{prefix}{_CHECKSUM}"):
        raise DataLoss(f"{what}: its table of contents has another digest than the annotation says")
    try:
        decoder = zstandard.ZstdDecompressor().stream_reader(packed)
        plain = decoder.read(position.plain_bytes + 1)
    except zstandard.ZstdError as error:
        raise InvalidArgument(f"{what}: its table of contents is broken: {error}") from error
    if len(plain) != position.plain_bytes:
        raise InvalidArgument(f"{what}: its table of contents has another size than the annotation says")
    return parse_document(plain, Table, f"{what}: table of contents")


def _parse_position(text: str, what: str) -> Position:
    parts = text.split(":")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        raise InvalidArgument(f"{what}: malformed position of its table of contents: {text[:80]!r}")
    offset, size_bytes, plain_bytes, kind = map(int, parts)
    if kind != _CRFS:
        raise Unimplemented(f"{what}: a table of contents of kind {kind}")
    if max(size_bytes, plain_bytes) > _TABLE_BYTES_MAX:
        raise InvalidArgument(f"{what}: a table of contents of {max(size_bytes, plain_bytes)} bytes")
    return Position(offset, size_bytes, plain_bytes)
