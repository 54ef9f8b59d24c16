"""Blob content: streamed, resumed by Range where it broke off, verified on the way.

What the registry says about lengths is never trusted: the descriptor's size
and digest alone decide.
"""

import errno
import os
import re
from collections.abc import Callable, Generator
from typing import NamedTuple

from rundlet.errors import DataLoss, Error, FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted
from rundlet.registry.message import ByteStream, Interrupted, Response
from rundlet.registry.retry import Limits, backoff_delay_s
from rundlet.spec.digest import Digest, Hasher, digest_hasher

CHUNK_SIZE = 1 << 18
# A connection that brought this much was worth it: the count of failures starts anew.
_PROGRESS_SIZE = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(?:\d{1,19}|\*)")


class Opened(NamedTuple):
    """An answer and its unread body."""

    response: Response
    stream: ByteStream


class Blob(NamedTuple):
    """What to fetch, and `open_at`: ask the registry for the bytes from an offset on."""

    what: str
    digest: Digest
    size: int
    open_at: Callable[[int], Opened]
    retries: int
    limits: Limits


def stream_blob(blob: Blob, offset: int, hasher: Hasher | None) -> Generator[bytes, None, None]:
    """The bytes from `offset` to the blob's end, in chunks as they arrive.

    `hasher` has seen what is before `offset`; with it the digest is checked
    before the iteration ends.  Raises DataLoss for a wrong digest or size.
    """
    done = offset
    failures = 0
    while done < blob.size:
        start = done
        try:
            for chunk in _read_from(blob, done):
                done += len(chunk)
                if hasher:
                    hasher.update(chunk)
                yield chunk
        except Interrupted as error:
            failures = 0 if done - start >= _PROGRESS_SIZE else failures + 1
            if failures > blob.retries:
                raise error.verdict from error
            delay_s = backoff_delay_s(max(failures - 1, 0), 0.0, blob.limits.clock)
            blob.limits.wait(delay_s, blob.what, error)
    if hasher and hasher.hexdigest() != blob.digest.hex:
        found = f"{blob.digest.algorithm}:{hasher.hexdigest()}"
        raise DataLoss(f"{blob.what}: the content has digest {found}")


def _read_from(blob: Blob, offset: int) -> Generator[bytes, None, None]:
    """One connection's share of the blob; returns at the blob's end, raises when it stops before."""
    response, stream = blob.open_at(offset)
    try:
        left = blob.size - offset
        _skip(stream, _check_range(response, offset, blob.what))
        while left and (chunk := stream.read(min(CHUNK_SIZE, left))):
            left -= len(chunk)
            yield chunk
        if left:
            _raise_short(stream, blob, left)
        if stream.read(1):
            raise DataLoss(f"{blob.what}: longer than the {blob.size} bytes that the manifest says")
    finally:
        stream.close()


def _check_range(response: Response, offset: int, what: str) -> int:
    """How many bytes of the answer to pass over before `offset`: all of them when Range was ignored."""
    if response.status == 200:
        return offset
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != offset:
        raise DataLoss(f"{what}: the registry answered with another range than the one asked for")
    return 0


def _skip(stream: ByteStream, size: int) -> None:
    while size and (chunk := stream.read(min(CHUNK_SIZE, size))):
        size -= len(chunk)


def _raise_short(stream: ByteStream, blob: Blob, left: int) -> None:
    """A body that ended in order is too short for good; one that just stopped may be resumed."""
    text = f"{blob.what}: it ended {left} bytes before the {blob.size} that the manifest says"
    if stream.complete:
        raise DataLoss(text)
    raise Interrupted(text, verdict=DataLoss(text))


def save_blob(blob: Blob, path: str, progress: Callable[[int], None] | None) -> None:
    """Bring `path` to hold the whole verified blob, going on from what it holds already.

    What it held may be wrong: when the sum does not fit, the download starts
    once more from nothing.  With DataLoss the file is removed; with any other
    error it stays for the next try.  It is not synced.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _disk_error(error, path) from error
    try:
        _save_to(descriptor, blob, progress)
    except OSError as error:
        raise _disk_error(error, path) from error
    except DataLoss:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _save_to(descriptor: int, blob: Blob, progress: Callable[[int], None] | None) -> None:
    held = os.fstat(descriptor).st_size
    if 0 < held <= blob.size:
        hasher = digest_hasher(blob.digest.algorithm)
        _hash_held(descriptor, held, hasher)
        try:
            _append(descriptor, blob, held, hasher, progress)
        except DataLoss:
            pass  # what was held is wrong, or what came: the whole decides
        else:
            return
    if held:
        os.ftruncate(descriptor, 0)
    _append(descriptor, blob, 0, digest_hasher(blob.digest.algorithm), progress)


def _hash_held(descriptor: int, size: int, hasher: Hasher) -> None:
    offset = 0
    while chunk := os.pread(descriptor, min(CHUNK_SIZE, size - offset), offset):
        hasher.update(chunk)
        offset += len(chunk)


def _append(
    descriptor: int, blob: Blob, offset: int, hasher: Hasher, progress: Callable[[int], None] | None
) -> None:
    report = progress or (lambda _done: None)
    report(offset)
    done = offset
    for chunk in stream_blob(blob, offset, hasher):
        _write_at(descriptor, chunk, done)
        done += len(chunk)
        report(done)


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


_DISK_ERRORS: dict[int | None, type[Error]] = {
    errno.ENOENT: NotFound,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EROFS: PermissionDenied,
    errno.ENOSPC: ResourceExhausted,
    errno.EDQUOT: ResourceExhausted,
    errno.EFBIG: ResourceExhausted,
}


def _disk_error(error: OSError, path: str) -> Error:
    kind = _DISK_ERRORS.get(error.errno, FailedPrecondition)
    return kind(f"download to {path}: {os.strerror(error.errno or 0).lower()}")
