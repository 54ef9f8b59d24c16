"""A new layer: a tar packed, compressed and hashed on the way into a temporary file.

The gzip header is fixed (no name, no time) and so is the level: the same tar gives the same blob.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from rundlet.archive.pack import Writable
from rundlet.errors import InvalidArgument
from rundlet.image.layout import LayerWriter
from rundlet.image.transport import Chunks, Content
from rundlet.kernel.failure import translating
from rundlet.spec.digest import Digest

_READ_BYTES: Final = 1 << 20
_EPOCH_VARIABLE: Final = "SOURCE_DATE_EPOCH"


class PackedLayer(NamedTuple):
    """A gzipped layer in a file that is there as long as `pack_layer`'s block runs."""

    path: str
    digest: Digest
    size_bytes: int
    diff_id: Digest

    def content(self) -> Content:
        return Content(self._open, self.digest, self.size_bytes)

    @contextmanager
    def _open(self) -> Iterator[Chunks]:
        with translating(f"layer {self.digest}"), open(self.path, "rb") as file:
            yield iter(lambda: file.read(_READ_BYTES), b"")


@contextmanager
def pack_layer(write: Callable[[Writable], None], directory: str | None = None) -> Iterator[PackedLayer]:
    """The layer that `write` makes of the file that it is given; raises what it raises."""
    with (
        translating("pack a layer"),
        tempfile.NamedTemporaryFile(prefix="rundlet-layer-", dir=directory) as file,
    ):
        writer = LayerWriter(file)
        write(writer)
        writer.finish()
        file.flush()
        yield PackedLayer(file.name, writer.digest, writer.size_bytes, writer.diff_id)


def read_source_date_s() -> int:
    """The time that everything that is made gets, in seconds since 1970: SOURCE_DATE_EPOCH, else 0."""
    text = os.environ.get(_EPOCH_VARIABLE, "")
    if text and not (text.isascii() and text.isdigit()):
        raise InvalidArgument(f"{_EPOCH_VARIABLE} is {text!r}, not a number of seconds since 1970")
    return int(text or 0)
