"""What the small registry server reads of HTTP by itself: bodies and ranges (RFC 9110, 9112)."""

import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

from rundlet.errors import FailedPrecondition, InvalidArgument

BLOCK_SIZE = 1 << 18
# A chunk's size line; longer ones are not written by anyone honest.
_LINE_LENGTH_MAX = 4096
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


def require(fine: object, reason: str) -> None:
    if not fine:
        raise InvalidArgument(reason)


def has_body(headers: Any) -> bool:
    return "Transfer-Encoding" in headers or body_length(headers) != 0


def body_length(headers: Any) -> int:
    """Content-Length; 0 when absent, -1 when malformed (which no body satisfies)."""
    text = headers.get("Content-Length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def read_exactly(file: BufferedIOBase, size: int) -> Iterator[bytes]:
    require(size >= 0, "malformed Content-Length")
    while size:
        block = file.read(min(size, BLOCK_SIZE))
        if not block:
            raise ConnectionAbortedError
        size -= len(block)
        yield block


def read_chunked(file: BufferedIOBase) -> Iterator[bytes]:
    """RFC 9112, 7.1; extensions and trailers are passed over."""
    while size := _read_chunk_size(file):
        yield from read_exactly(file, size)
        file.readline(_LINE_LENGTH_MAX)
    while file.readline(_LINE_LENGTH_MAX) not in (b"\r\n", b"\n", b""):
        pass


def _read_chunk_size(file: BufferedIOBase) -> int:
    line = file.readline(_LINE_LENGTH_MAX)
    if not line:
        raise ConnectionAbortedError
    text = line.split(b";")[0].strip()
    require(_HEX.fullmatch(text), "malformed chunk")
    return int(text, 16)


def parse_range(text: str, size: int) -> tuple[int, int]:
    """(start, end) of the first range that is asked for; the whole when it is malformed or many."""
    found = _RANGE.fullmatch(text)
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    start = int(found[1])
    if start >= size:
        raise FailedPrecondition(f"range {text} lies behind the {size} bytes that are here")
    return start, min(int(found[2]) + 1, size) if found[2] else size
