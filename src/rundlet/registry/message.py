"""What a flow and its driver say to each other.

A flow is a generator that knows the protocol and does no I/O.  It yields a
Request and is sent the Response, or has Interrupted thrown in when the attempt
broke; it yields a Pause and is resumed when the time has passed.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol, TypeVar

from rundlet.errors import Error, Internal, NotFound, Unavailable

T = TypeVar("T")

# An answer that is not a blob: manifests, tokens, tag lists, errors.  The
# distribution specification asks registries to accept manifests of 4 MiB.
DOCUMENT_SIZE_MAX = 4 << 20


class FileBody(NamedTuple):
    """The content of a file as a request's body; it is opened anew for every attempt.

    Both methods raise NotFound when the file cannot be read.
    """

    path: str
    size_bytes: int

    @classmethod
    def of(cls, path: str) -> "FileBody":
        try:
            return cls(path, os.path.getsize(path))
        except OSError as error:
            raise NotFound(f"file {path}: {os.strerror(error.errno or 0).lower()}") from error

    def open(self) -> BinaryIO:
        try:
            return open(self.path, "rb")
        except OSError as error:
            raise NotFound(f"file {self.path}: {os.strerror(error.errno or 0).lower()}") from error


class StreamBody(NamedTuple):
    """A request's body that is made on the way; `open` gives its chunks anew for every attempt.

    `size_bytes` is -1 when only the end will tell: then the body goes out chunked.
    """

    open: Callable[[], AbstractContextManager[Iterator[bytes]]]
    size_bytes: int = -1


class Request(NamedTuple):
    """`stream`: leave the body of a successful answer unread, for `Response.stream`."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | FileBody | StreamBody = b""
    stream: bool = False
    size_max: int = DOCUMENT_SIZE_MAX


class ByteStream(Protocol):
    """The unread body of an answer; `read` gives up to `size` bytes, b"" at the end.

    `read` raises Interrupted when the connection breaks.  `complete` says
    whether the peer has announced how long the body is, and sent all of it.
    """

    @property
    def complete(self) -> bool: ...
    def read(self, size: int) -> bytes: ...
    def close(self) -> None: ...


class Response(NamedTuple):
    """`headers` ignores case; `body` is whole unless there is a `stream`."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    stream: ByteStream | None = None


class Interrupted(Unavailable):
    """An attempt failed in a way that may pass.

    `retry_after_s` is what the peer asked for; `verdict` is the error to end
    with when there is no time or attempt left (this one by default);
    `timed_out` says that the peer took the connection and then kept silent.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 0.0,
        verdict: Error | None = None,
        timed_out: bool = False,
    ) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.retry_after_s = retry_after_s
        self.verdict = verdict or Unavailable(message)


class Pause(NamedTuple):
    """Wait before the next attempt; `cause` is why, for an error when there is no time."""

    delay_s: float
    cause: Interrupted


Flow = Generator[Request | Pause, Response | None, T]


def ask(request: Request) -> Flow[Response]:
    """One request and its answer, as a step of a flow."""
    response = yield request
    if response is None:
        raise Internal(f"{request.method} {request.url}: the driver gave no answer")
    return response
