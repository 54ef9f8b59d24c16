"""Key material in files: what a policy names, and what a signer keeps."""

import os

from rundlet.errors import FailedPrecondition
from rundlet.spec.policy import KeySource

_SIZE_MAX = 16 << 20


def read_key(source: KeySource) -> bytes:
    """The file's or the policy's own bytes; FailedPrecondition when they cannot be had."""
    return read_key_file(source.path) if source.path else source.data


def read_key_file(path: str) -> bytes:
    """FailedPrecondition when it cannot be read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(_SIZE_MAX + 1)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"cannot read the key {path}: {reason}") from error
    if len(raw) > _SIZE_MAX:
        raise FailedPrecondition(f"key {path}: longer than {_SIZE_MAX} bytes")
    return raw
