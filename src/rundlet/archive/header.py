"""One 512-byte tar header: v7, ustar, GNU and star forms.

    offset  0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12
          148 chksum 8 | 156 typeflag 1 | 157 linkname 100 | 257 magic 6 | 263 version 2
          265 uname 32 | 297 gname 32 | 329 devmajor 8 | 337 devminor 8 | 345 prefix 155

Numbers are octal text, or base-256 when the first bit is set (GNU).  GNU's sparse
headers keep their map where others have the prefix (tar manual, "Basic Tar Format").
"""

import struct
import zlib
from functools import lru_cache
from typing import Final, NamedTuple

from rundlet.errors import InvalidArgument

BLOCK_BYTES: Final = 512
END_BLOCK: Final = bytes(BLOCK_BYTES)

_LAYOUT: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12s")
_USTAR: Final = b"ustar\x0000"
_ADLER_MODULUS: Final = 65521


class Header(NamedTuple):
    """The fields as numbers and byte strings; `rest` is the raw area behind the device numbers."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_s: int
    type: bytes
    link: bytes
    device: tuple[int, int]
    rest: bytes


def parse_header(block: bytes) -> Header:
    """The fields of `block`; InvalidArgument when it is no tar header."""
    if len(block) != BLOCK_BYTES:
        raise InvalidArgument("archive ends inside a header")
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, major, minor, prefix, tail = (
        _LAYOUT.unpack(block)
    )
    _check_sum(block, checksum)
    name = cut_text(name)
    if magic == _USTAR and prefix[0]:
        # star's variant ends the prefix after 131 bytes and puts times behind it
        prefix = cut_text(prefix[:131] if tail.endswith(b"tar\0") else prefix)
        name = prefix + b"/" + name
    return Header(
        name,
        parse_number(mode),
        parse_number(uid),
        parse_number(gid),
        parse_number(size),
        parse_number(mtime),
        kind,
        cut_text(link),
        (parse_number(major), parse_number(minor)) if magic.startswith(b"ustar") else (0, 0),
        block[345:] if kind == b"S" else b"",
    )


def _check_sum(block: bytes, field: bytes) -> None:
    """The sum of all bytes with the field itself as spaces; adler32's low half is that sum (+ 1, mod 65521).

    It runs in a sixth of the time of sum(block) and is only there to notice what is no tar.
    """
    wanted = parse_number(field) + sum(field) - 8 * ord(" ")
    if zlib.adler32(block) & 0xFFFF != (wanted + 1) % _ADLER_MODULUS and not _is_signed_sum(block, wanted):
        raise InvalidArgument("not a tar archive, or a damaged one: a header's checksum is wrong")


def _is_signed_sum(block: bytes, wanted: int) -> bool:
    """Historic tars summed signed bytes; only names outside ASCII show the difference."""
    return sum(block) - 256 * sum(byte > 127 for byte in block) == wanted


def cut_text(field: bytes) -> bytes:
    """A text field up to its first NUL."""
    return field.partition(b"\0")[0]


@lru_cache(maxsize=1024)  # modes, owners, sizes and times repeat from header to header
def parse_number(field: bytes) -> int:
    """Octal text or base-256; InvalidArgument otherwise.  Empty counts as 0."""
    if field[0] & 0x80:
        return _parse_base_256(field)
    text = field.strip(b" \0")
    if not text.isdigit():
        text = cut_text(text).strip()
    try:
        return int(text, 8) if text.isdigit() else _refuse_unless_empty(field, text)
    except ValueError:
        return _refuse_unless_empty(field, text)


def _refuse_unless_empty(field: bytes, text: bytes) -> int:
    if text:
        raise InvalidArgument(f"tar header number {field!r} is malformed")
    return 0


def _parse_base_256(field: bytes) -> int:
    """Two's complement, big-endian, in all bits but the first."""
    value = int.from_bytes(field, "big") & ~(1 << (8 * len(field) - 1))
    if field[0] & 0x40:
        value -= 1 << (8 * len(field) - 1)
    return value
