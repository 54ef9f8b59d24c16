"""Blobs and documents as files, for the transports that keep them so."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rundlet.errors import DataLoss, NotFound
from rundlet.image.transport import Chunks, Content, Written
from rundlet.kernel.failure import translating
from rundlet.spec.descriptor import Descriptor
from rundlet.spec.digest import Digest, digest_hasher

CHUNK_BYTES = 1 << 18
# The distribution specification asks registries to accept manifests of 4 MiB; longer ones nobody takes.
DOCUMENT_BYTES_MAX = 4 << 20


def verify_chunks(chunks: Chunks, digest: Digest, what: str, size_bytes: int = -1) -> Chunks:
    """`chunks` passed on, hashed; DataLoss at the end when they are not `digest`."""
    hasher = digest_hasher(digest.algorithm)
    done = 0
    for chunk in chunks:
        hasher.update(chunk)
        done += len(chunk)
        if 0 <= size_bytes < done:
            raise DataLoss(f"{what}: longer than the {size_bytes} bytes that the manifest says")
        yield chunk
    if hasher.hexdigest() != digest.hex:
        raise DataLoss(f"{what}: the content has digest {digest.algorithm}:{hasher.hexdigest()}")


@contextmanager
def open_file(path: str, blob: Descriptor, what: str) -> Iterator[Chunks]:
    """A blob that is a file by itself."""
    with translating(what), open(path, "rb", buffering=0) as file:
        yield verify_chunks(iter(lambda: file.read(CHUNK_BYTES), b""), blob.parsed_digest(), what, blob.size)


def write_file(directory: str, content: Content, place: Callable[[Digest], str]) -> Written:
    """Write a blob below `directory`; it appears at `place(digest)` at once and whole."""
    draft = f"{directory}/.new-{os.urandom(8).hex()}"
    hasher = None if content.digest else digest_hasher("sha256")
    size_bytes = 0
    with translating(f"write to {directory}"):
        try:
            with content.open() as chunks, open(draft, "xb", buffering=0) as file:
                for chunk in chunks:
                    if hasher:
                        hasher.update(chunk)
                    size_bytes += len(chunk)
                    _write_all(file.fileno(), chunk)
            digest = content.digest or Digest("sha256", hasher.hexdigest() if hasher else "")
            target = place(digest)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(draft, target)
        except BaseException:
            remove_file(draft)
            raise
    return Written(digest, size_bytes)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_document(path: str, data: bytes) -> None:
    """A small file, at once and whole."""
    draft = f"{os.path.dirname(path)}/.new-{os.urandom(8).hex()}"
    with translating(f"write {path}"):
        with open(draft, "xb") as file:
            file.write(data)
        os.rename(draft, path)


def read_document(path: str, what: str, size_max: int = DOCUMENT_BYTES_MAX) -> bytes:
    """A small file; NotFound, and DataLoss when it is longer than any document should be."""
    with translating(what):
        try:
            with open(path, "rb") as file:
                data = file.read(size_max + 1)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{what}: there is no {path}") from error
    if len(data) > size_max:
        raise DataLoss(f"{what}: longer than {size_max} bytes")
    return data


def remove_file(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
