"""A stream of chunks, read by the byte, the block and the piece.

chunks      [ 512 KiB ][ 512 KiB ][ …                (decompressed layer)
               ▲ at
read(512)   bytes of a header, joined when they straddle two chunks
pieces(n)   views into the chunks, so that file data is never copied
"""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Final

from rundlet.errors import InvalidArgument, ResourceExhausted
from rundlet.spec.digest import Hasher

_AHEAD_CHUNKS: Final = 4


class ByteStream:
    """Reads `chunks` in order; ResourceExhausted once more than `limit_bytes` have come."""

    __slots__ = ("_at", "_chunks", "_end", "_left_bytes", "_limit_bytes", "_view")

    def __init__(self, chunks: Iterator[bytes], limit_bytes: int) -> None:
        self._chunks = chunks
        self._view = memoryview(b"")
        self._at = 0
        self._end = 0
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes

    def _fill(self) -> bool:
        """Step to the next chunk; False at the end."""
        chunk = next(self._chunks, b"")
        self._left_bytes -= len(chunk)
        if self._left_bytes < 0:
            raise ResourceExhausted(f"layer unpacks to more than {self._limit_bytes} bytes")
        self._view = memoryview(chunk)
        self._at = 0
        self._end = len(chunk)
        return bool(chunk)

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end of the stream."""
        stop = self._at + size
        if stop <= self._end:
            data = bytes(self._view[self._at : stop])
            self._at = stop
            return data
        return b"".join(self._up_to(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes as views; InvalidArgument when the stream ends before."""
        stop = self._at + size
        if stop <= self._end:
            yield self._take(stop)
            return
        for piece in self._up_to(size):
            size -= len(piece)
            yield piece
        if size:
            raise InvalidArgument(f"archive ends {size} bytes early")

    def _take(self, stop: int) -> memoryview:
        piece = self._view[self._at : stop]
        self._at = stop
        return piece

    def _up_to(self, size: int) -> Iterator[memoryview]:
        while size > 0 and (self._at < self._end or self._fill()):
            piece = self._take(min(self._end, self._at + size))
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Pass over `size` bytes; InvalidArgument when the stream ends before."""
        stop = self._at + size
        if stop <= self._end:
            self._at = stop
            return
        for _ in self.pieces(size):
            pass

    def drain(self) -> None:
        """Read to the end, so that whoever hashes the chunks has seen all of them."""
        self._at = self._end
        while self._fill():
            pass


def hash_chunks(chunks: Iterator[bytes], hasher: Hasher) -> Iterator[bytes]:
    """`chunks` passed on, each fed to `hasher` first."""
    for chunk in chunks:
        hasher.update(chunk)
        yield chunk


class ReadAhead:
    """Runs an iterator of chunks in a thread of its own, a few chunks ahead of the reader.

    Decompression and hashing leave Python's lock alone, so they and the reader's
    system calls share two cores.  An error of the iterator is raised to the reader
    where its chunk would have been.  Leaving the `with` block ends the thread: `stop` makes
    an iterator that waits for more give up.
    """

    def __init__(self, chunks: Iterator[bytes], stop: Callable[[], None] | None = None) -> None:
        self._chunks = chunks
        self._stop = stop
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD_CHUNKS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="layer read-ahead", daemon=True)

    def __enter__(self) -> Iterator[bytes]:
        self._thread.start()
        return self._read()

    def __exit__(self, *_exc: object) -> None:
        self._stopped.set()
        if self._stop is not None:
            self._stop()
        while self._thread.is_alive():
            self._empty()  # a thread that waits to put its chunk must see that it may stop
            self._thread.join(0.01)

    def _empty(self) -> None:
        try:
            while True:
                self._queue.get_nowait()
        except queue.Empty:
            pass

    def _run(self) -> None:
        try:
            for chunk in self._chunks:
                if self._stopped.is_set():
                    return
                self._queue.put(chunk)
            self._queue.put(None)
        except BaseException as error:  # noqa: BLE001  handed to the reader, who raises it
            self._queue.put(error)

    def _read(self) -> Iterator[bytes]:
        while True:
            item = self._queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
