r"""`layers/<n>.list`: what a layer's directory held when it was made (see `archive.listing`), zstd.

zstd( line line \n line \n … )      its digest, of the plain text, is in `layers/<n>.json`
"""

from collections.abc import Iterable
from typing import Final

import zstandard

from rundlet.errors import DataLoss
from rundlet.kernel.failure import translating
from rundlet.spec.digest import Digest, digest_hasher

_LEVEL: Final = 1
_BATCH_LINES: Final = 1024


def write_listing(path: str, lines: Iterable[bytes]) -> str:
    """Write `lines`; returns the digest of the plain text.  Raises OSError."""
    hasher = digest_hasher("sha256")
    with open(path, "wb") as file, zstandard.ZstdCompressor(_LEVEL).stream_writer(file) as writer:
        for text in _batched(lines):
            hasher.update(text)
            writer.write(text)
    return str(Digest("sha256", hasher.hexdigest()))


def read_listing(path: str, digest: str) -> list[bytes]:
    """The lines that `write_listing` wrote.  Raises NotFound, DataLoss when they have changed."""
    with translating(f"listing {path}"), open(path, "rb") as file:
        raw = file.read()
    try:
        text = zstandard.ZstdDecompressor().stream_reader(raw).read()
    except zstandard.ZstdError as error:
        raise DataLoss(f"listing {path} is damaged: {error}") from error
    if str(Digest.of(text)) != digest:
        raise DataLoss(f"listing {path} has changed")
    return text.splitlines()


def _batched(lines: Iterable[bytes]) -> Iterable[bytes]:
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _BATCH_LINES:
            yield b"\n".join((*batch, b""))
            batch.clear()
    yield b"\n".join((*batch, b"")) if batch else b""
