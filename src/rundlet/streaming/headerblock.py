"""SPDY header blocks: names and values, compressed with a dictionary both ends know.

    block   = zlib stream, one for the life of the connection, flushed after every block
    plain   = count(4)  then count × ( length(4) name  length(4) value )        big endian

Names are in lower case and come once; several values of a name are joined by NUL.
Source: SPDY Protocol, Draft 3.1, section 2.6.10 and its compression dictionary.
"""

import zlib
from collections.abc import Mapping

from rundlet.errors import InvalidArgument

# Blocks here hold three short headers; what other SPDY implementations allow is 1 MiB a field.
BLOCK_MAX_BYTES = 16 * 1024
HEADERS_MAX = 64

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges"
    " age allow authorization cache-control connection content-base content-encoding content-language"
    " content-length content-location content-md5 content-range content-type date etag expect expires from"
    " host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location"
    " max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer"
    " transfer-encoding upgrade user-agent vary via warning www-authenticate method get status".split()
)
_MORE_WORDS = ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
_CODES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
)
_VALUES = (
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _field(text: str) -> bytes:
    raw = text.encode("latin-1")
    return len(raw).to_bytes(4, "big") + raw


DICTIONARY = b"".join(map(_field, [*_WORDS, *_MORE_WORDS])) + (_CODES + _VALUES).encode("ascii")

# The smallest window that holds the dictionary: 20 kB a connection instead of zlib's usual 256 kB.
_WINDOW_BITS = 11
_MEMORY_LEVEL = 1


class HeaderPacker:
    """Writes the header blocks of one connection, in the order they are sent."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(6, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zdict=DICTIONARY)

    def pack(self, headers: Mapping[str, str]) -> bytes:
        plain = len(headers).to_bytes(4, "big")
        plain += b"".join(_field(name.lower()) + _field(value) for name, value in headers.items())
        return self._zlib.compress(plain) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class HeaderUnpacker:
    """Reads the header blocks of one connection, in the order they came."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def unpack(self, block: bytes) -> dict[str, str]:
        """Raises InvalidArgument; the connection cannot go on then, as its compression state is lost."""
        try:
            plain = self._zlib.decompress(block, BLOCK_MAX_BYTES)
        except zlib.error as error:
            raise InvalidArgument(f"SPDY: a header block does not decompress: {error}") from error
        if self._zlib.unconsumed_tail or self._zlib.eof:
            raise InvalidArgument(f"SPDY: a header block is over {BLOCK_MAX_BYTES} bytes or ends the stream")
        return _parse(plain)


def _parse(plain: bytes) -> dict[str, str]:
    count, rest = _take_number(plain)
    if count > HEADERS_MAX:
        raise InvalidArgument(f"SPDY: {count} headers in a block, at most {HEADERS_MAX} are read")
    headers: dict[str, str] = {}
    for _ in range(count):
        name, rest = _take_field(rest)
        value, rest = _take_field(rest)
        if not name or name != name.lower() or name in headers:
            raise InvalidArgument(f"SPDY: header {name!r} is empty, not in lower case or there twice")
        headers[name] = value
    if rest:
        raise InvalidArgument(f"SPDY: {len(rest)} bytes too many in a header block")
    return headers


def _take_number(data: bytes) -> tuple[int, bytes]:
    if len(data) < 4:
        raise InvalidArgument("SPDY: a header block is cut short")
    return int.from_bytes(data[:4], "big"), data[4:]


def _take_field(data: bytes) -> tuple[str, bytes]:
    size, rest = _take_number(data)
    if len(rest) < size:
        raise InvalidArgument("SPDY: a header block is cut short")
    return rest[:size].decode("latin-1"), rest[size:]
