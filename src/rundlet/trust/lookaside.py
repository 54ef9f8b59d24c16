"""Lookaside storage: simple signatures in a tree of files, or on a Web server with such a tree.

    <base>/<repository path>@<algorithm>=<hex>/signature-1, signature-2, …

`base` is a file:///, http:// or https:// URL (registries.d); only file:/// can be written.  There
is no list: reading goes up from 1 until one is missing.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final
from urllib.parse import unquote, urlsplit

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from rundlet.kernel.failure import translating
from rundlet.spec.digest import Digest
from rundlet.spec.reference import Reference

_SIGNATURES_MAX: Final = 128
_SIZE_MAX: Final = 4 << 20

ReadUrl = Callable[[str], bytes]


def signature_url(base: str, reference: Reference, digest: Digest, index: int) -> str:
    """Where signature number `index` (from 1) of a manifest is."""
    return f"{base.rstrip('/')}/{reference.path}@{digest.algorithm}={digest.hex}/signature-{index}"


def read_lookaside(base: str, reference: Reference, digest: Digest, read_url: ReadUrl) -> list[bytes]:
    """All signatures of the manifest; `read_url` fetches http URLs and raises NotFound."""
    found: list[bytes] = []
    read = _read_file if _is_file(base) else read_url
    while len(found) < _SIGNATURES_MAX:
        try:
            found.append(read(signature_url(base, reference, digest, len(found) + 1)))
        except NotFound:
            return found
    raise ResourceExhausted(f"{base}: more than {_SIGNATURES_MAX} signatures of {reference.name}@{digest}")


def add_lookaside(base: str, reference: Reference, digest: Digest, signatures: Sequence[bytes]) -> None:
    """Write those of `signatures` that are not there yet; FailedPrecondition when `base` is no directory."""
    if not _is_file(base):
        raise FailedPrecondition(
            f"cannot write signatures to {base}", hint="registries.d: lookaside-staging names a file:/// URL"
        )
    present = read_lookaside(base, reference, digest, _read_file)
    for signature in signatures:
        if signature not in present:
            _write_next(base, reference, digest, signature, len(present) + 1)
            present.append(signature)


def _is_file(base: str) -> bool:
    scheme = urlsplit(base).scheme
    if scheme not in ("file", "http", "https"):
        raise InvalidArgument(f"signature storage {base!r}: expected a file, http or https URL")
    return scheme == "file"


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InvalidArgument(f"signature storage {url!r}: expected file:///PATH")
    return unquote(parts.path)


def _read_file(url: str) -> bytes:
    path = _path_of(url)
    try:
        with open(path, "rb") as file:
            raw = file.read(_SIZE_MAX + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no signature {path}") from error
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"cannot read the signature {path}: {reason}") from error
    if len(raw) > _SIZE_MAX:
        raise ResourceExhausted(f"signature {path}: longer than {_SIZE_MAX} bytes")
    return raw


def _write_next(base: str, reference: Reference, digest: Digest, signature: bytes, index: int) -> None:
    """Under the first free number from `index` on, whole or not at all, also beside another writer."""
    directory = os.path.dirname(_path_of(signature_url(base, reference, digest, index)))
    fresh = f"{directory}/.{os.getpid()}.new"
    with translating(f"write a signature to {directory}"), ExitStack() as undo:
        os.makedirs(directory, exist_ok=True)
        with open(fresh, "wb") as file:
            undo.callback(os.unlink, fresh)
            file.write(signature)
            file.flush()
            os.fsync(file.fileno())
        while not _link(fresh, f"{directory}/signature-{index}"):
            index += 1


def _link(source: str, target: str) -> bool:
    """False when there is a file of that name already."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    return True
