"""Content digests: "sha256:<64 hex digits>" (image-spec, descriptor.md#digests)."""

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rundlet.errors import InvalidArgument


class Hasher(Protocol):
    """The part of a hashlib object that streaming verification needs."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


_HASHERS: dict[str, Callable[[], Hasher]] = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_HEX_DIGITS = {"sha256": 64, "sha512": 128}

# The general form of a digest; algorithms that we cannot compute may appear in
# documents (an index for other clients), so models check this form only.
DIGEST_PATTERN = r"\A[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+\Z"
_LOWER_HEX = re.compile(r"[0-9a-f]+")


class Digest(NamedTuple):
    """An algorithm that we can compute and its value in lower-case hex digits.

    Both parts are safe as file names: `parse_digest` lets nothing else through.
    """

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> "Digest":
        """The digest of `data`; InvalidArgument for an unknown algorithm."""
        hasher = digest_hasher(algorithm)
        hasher.update(data)
        return cls(algorithm, hasher.hexdigest())


def digest_hasher(algorithm: str) -> Hasher:
    """A fresh hashlib object; InvalidArgument for an unknown algorithm."""
    make = _HASHERS.get(algorithm)
    if make is None:
        raise InvalidArgument(
            f"digest algorithm {algorithm!r} is not supported", hint="sha256 and sha512 are"
        )
    return make()


def parse_digest(text: str) -> Digest:
    """ "sha256:…" or "sha512:…" as a Digest; InvalidArgument for anything else."""
    algorithm, separator, value = text.partition(":")
    if not separator:
        raise InvalidArgument(f"digest {text!r}: expected <algorithm>:<hex digits>")
    if algorithm not in _HEX_DIGITS:
        raise InvalidArgument(f"digest {text!r}: algorithm is not supported", hint="sha256 and sha512 are")
    if len(value) != _HEX_DIGITS[algorithm] or not _LOWER_HEX.fullmatch(value):
        raise InvalidArgument(f"digest {text!r}: expected {_HEX_DIGITS[algorithm]} lower-case hex digits")
    return Digest(algorithm, value)
