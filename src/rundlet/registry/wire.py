"""HTTP/1.1 as a client speaks it (RFC 9112): a request out, an answer's head and body in.

    GET /v2/ HTTP/1.1            HTTP/1.1 200 OK
    Host: quay.io                Content-Length: 2
    …                            …
    <empty line>                 <empty line>
    [body]                       body: so many bytes, or chunks, or until the close

No sockets here: bytes come from a function.  What breaks the grammar is Garbled.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

HEAD_BYTES_MAX: Final = 64 << 10
_LINE_BYTES_MAX: Final = 4096
_BLOCK_BYTES: Final = 64 << 10
_INTERIM_MAX: Final = 10
_TRAILERS_MAX: Final = 100
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_BODY: Final = frozenset({204, 304})


class Garbled(Exception):
    """The peer does not speak HTTP/1.1, or stopped in the middle of a word."""


class Headers(Mapping[str, str]):
    """Header fields; names in any case, the values of a repeated one joined by commas."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Head(NamedTuple):
    """What stands before an answer's body; `keeps_open` is what the peer says of the connection."""

    status: int
    headers: Headers
    keeps_open: bool


def write_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request up to its body; ValueError for a field that would be more than one line."""
    lines = [f"{method} {_escape(target)} HTTP/1.1"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or any(each in value for each in "\r\n\0"):
            raise ValueError(f"malformed header field {name!r}")
        lines.append(f"{name}: {value}")
    return "\r\n".join((*lines, "", "")).encode("utf-8", "surrogateescape")


def _escape(target: str) -> str:
    """`target` with what may not stand in a request line as %XX."""
    return re.sub(
        r"[^\x21-\x7e]+", lambda found: "".join(f"%{each:02X}" for each in found[0].encode()), target
    )


def parse_head(lines: list[bytes]) -> Head:
    """The status line and the fields of an answer, without the empty line."""
    found = _STATUS.fullmatch(lines[0])
    if not found:
        raise Garbled("no HTTP answer")
    headers = Headers([_parse_field(line) for line in lines[1:]])
    said = headers.get("Connection", "").lower()
    keeps_open = "keep-alive" in said if found[1] == b"0" else "close" not in said
    return Head(int(found[2]), headers, keeps_open)


def _parse_field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.decode("latin-1").partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise Garbled("a malformed header field")
    return name, value.strip(" \t")


class Inflow:
    """Bytes of one connection in order; `receive(n)` gives at most n, b"" when the peer has closed."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self.receive = receive
        self._held = b""

    @property
    def empty(self) -> bool:
        """Whether nothing was received that nobody has read."""
        return not self._held

    def read(self, size: int) -> bytes:
        if not self._held:
            return self.receive(size)
        data, self._held = self._held[:size], self._held[size:]
        return data

    def read_line(self, size_max: int = _LINE_BYTES_MAX) -> bytes:
        """A line without its end."""
        while (end := self._held.find(b"\n")) < 0:
            if len(self._held) > size_max:
                raise Garbled("an overlong line")
            data = self.receive(_BLOCK_BYTES)
            if not data:
                raise Garbled("closed by the other side")
            self._held += data
        line, self._held = self._held[:end], self._held[end + 1 :]
        if len(line) > size_max:
            raise Garbled("an overlong line")
        return line.removesuffix(b"\r")

    def read_head(self) -> Head:
        """The next answer's head; those that only announce it (1xx) are passed over."""
        for _ in range(_INTERIM_MAX):
            lines: list[bytes] = []
            left = HEAD_BYTES_MAX
            while line := self.read_line(left):
                lines.append(line)
                left = max(0, left - len(line) - 2)
            if not lines:
                raise Garbled("no HTTP answer")
            head = parse_head(lines)
            if head.status >= 200:
                return head
        raise Garbled("too many interim answers")


class Body:
    """What follows a head.  `ended`: it is over, and the peer had said where it would be.

    `read` gives up to `size` bytes as they arrive, b"" at the end; Garbled when it ends too early.
    """

    def __init__(self, inflow: Inflow, method: str, head: Head) -> None:
        self._inflow = inflow
        self._chunked, self._left = _find_framing(method, head)
        self.ended = not self._chunked and self._left == 0

    def read(self, size: int) -> bytes:
        if self.ended or (self._chunked and not self._left and not self._begin_chunk()):
            return b""
        data = self._inflow.read(size if self._left < 0 else min(size, self._left))
        if self._left >= 0:
            if not data:
                raise Garbled("it ended early")
            self._left -= len(data)
            if not self._left:
                self._end_part()
        return data

    def _begin_chunk(self) -> bool:
        found = _CHUNK_SIZE.fullmatch(self._inflow.read_line())
        if not found:
            raise Garbled("a malformed chunk")
        self._left = int(found[1], 16)
        if self._left:
            return True
        for _ in range(_TRAILERS_MAX):
            if not self._inflow.read_line():
                self.ended = True
                return False
        raise Garbled("too many trailers")

    def _end_part(self) -> None:
        """The chunk is over, or the body."""
        if not self._chunked:
            self.ended = True
        elif self._inflow.read_line():
            raise Garbled("a malformed chunk")


def _find_framing(method: str, head: Head) -> tuple[bool, int]:
    """(in chunks, bytes as they are announced); -1 bytes when the close is the end."""
    if method == "HEAD" or head.status in _NO_BODY:
        return False, 0
    coding = head.headers.get("Transfer-Encoding", "").lower()
    if coding and coding != "chunked":
        raise Garbled(f"a transfer coding {coding[:40]!r}")
    text = head.headers.get("Content-Length")
    if coding or text is None:
        return bool(coding), 0 if coding else -1
    lengths = {each.strip() for each in text.split(",")}  # a repeated field with one value is one
    if len(lengths) != 1 or not _LENGTH.fullmatch(next(iter(lengths))):
        raise Garbled("a malformed length")
    return False, int(lengths.pop())
