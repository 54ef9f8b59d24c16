"""Write tars that are the same for the same entries: `tar.Entry` in, bytes out.

ustar headers as far as they have room (`header` draws them); what they have not goes into a
PAX header before them, by the rules of POSIX.1-2017 "pax Extended Header":

    path, linkpath     longer than 100 bytes
    uid, gid, size     beyond their octal digits
    mtime              before 1970, or with a fraction of a second
    SCHILY.xattr.KEY   extended attributes

No names of users and groups, no time of its own, no padding to a record: two blocks of zeros
end the archive.
"""

from collections.abc import Iterable
from typing import Final

from rundlet.archive import tar
from rundlet.archive.header import BLOCK_BYTES
from rundlet.archive.pack import Writable
from rundlet.archive.tar import Entry
from rundlet.errors import InvalidArgument

_NAME_BYTES: Final = 100
_ID_MAX: Final = 0o7777777
_SIZE_MAX: Final = 0o77777777777
_END: Final = bytes(2 * BLOCK_BYTES)
_PAX_TYPE: Final = b"x"


class TarWriter:
    """Entries one after the other, then `finish`."""

    def __init__(self, out: Writable) -> None:
        self._out = out

    def add(self, entry: Entry, content: Iterable[bytes | memoryview] = ()) -> None:
        """One entry with its `content` of exactly `entry.size_bytes`; InvalidArgument when it is another size."""
        records = _make_records(entry)
        if records:
            text = b"".join(map(_format_record, records))
            header = Entry(_PAX_TYPE, b"././@PaxHeader", b"", 0o644, 0, 0, 0, len(text), (0, 0))
            self._write(_format_header(header) + _pad(text))
        self._write(_format_header(entry))
        left_bytes = entry.size_bytes if entry.type == tar.FILE else 0
        for piece in content:
            left_bytes -= len(piece)
            self._write(bytes(piece))
        if left_bytes:
            raise InvalidArgument(f"file {entry.path!r} changed while it was packed")
        self._write(bytes(-entry.size_bytes % BLOCK_BYTES if entry.type == tar.FILE else 0))

    def finish(self) -> None:
        self._write(_END)

    def _write(self, data: bytes) -> None:
        if data:
            self._out.write(data)


def _stored_path(entry: Entry) -> bytes:
    if entry.type == tar.DIRECTORY:
        return entry.path + b"/" if entry.path else b"./"
    return entry.path


def _make_records(entry: Entry) -> list[tuple[bytes, bytes]]:
    """The PAX records that `entry` needs, by keyword."""
    records: list[tuple[bytes, bytes]] = []
    if len(_stored_path(entry)) > _NAME_BYTES:
        records.append((b"path", _stored_path(entry)))
    if len(entry.link) > _NAME_BYTES:
        records.append((b"linkpath", entry.link))
    for keyword, value, most in (
        (b"uid", entry.uid, _ID_MAX),
        (b"gid", entry.gid, _ID_MAX),
        (b"size", entry.size_bytes, _SIZE_MAX),
    ):
        if value > most:
            records.append((keyword, b"%d" % value))
    seconds, nanoseconds = divmod(abs(entry.mtime_ns), 10**9)
    if nanoseconds or entry.mtime_ns < 0 or seconds > _SIZE_MAX:
        fraction = (b".%09d" % nanoseconds).rstrip(b"0").rstrip(b".")
        records.append((b"mtime", (b"-" if entry.mtime_ns < 0 else b"") + b"%d" % seconds + fraction))
    records += [
        (b"SCHILY.xattr." + key.encode(errors="surrogateescape"), value) for key, value in entry.xattrs
    ]
    return sorted(records)


def _format_record(record: tuple[bytes, bytes]) -> bytes:
    """The length counts its own digits, so it is found by trying."""
    body = b" %s=%s\n" % record
    size = len(body)
    while size != (fitting := len(body) + len(str(size))):
        size = fitting
    return b"%d%s" % (size, body)


def _format_header(entry: Entry) -> bytes:
    mtime_s = max(entry.mtime_ns // 10**9, 0)
    fields = b"".join((
        _stored_path(entry)[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"),
        b"%07o\0" % (entry.mode & 0o7777),
        b"%07o\0" % (entry.uid if entry.uid <= _ID_MAX else 0),
        b"%07o\0" % (entry.gid if entry.gid <= _ID_MAX else 0),
        b"%011o\0" % (entry.size_bytes if entry.size_bytes <= _SIZE_MAX else 0),
        b"%011o\0" % (mtime_s if mtime_s <= _SIZE_MAX else 0),
        b"        ",
        entry.type,
        entry.link[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0"),
        b"ustar\x0000",
        bytes(64),
        b"%07o\0%07o\0" % entry.device,
    ))  # fmt: skip
    block = fields.ljust(BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK_BYTES)
