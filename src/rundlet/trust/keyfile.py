"""Key material that a policy names, read when it is needed."""

import os

from rundlet.errors import FailedPrecondition
from rundlet.spec.policy import KeySource

_SIZE_MAX = 16 << 20


def read_key(source: KeySource) -> bytes:
    """The file's or the policy's own bytes; FailedPrecondition when they cannot be had."""
    if not source.path:
        return source.data
    try:
        with open(source.path, "rb") as file:
            raw = file.read(_SIZE_MAX + 1)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"cannot read the key {source.path}: {reason}") from error
    if len(raw) > _SIZE_MAX:
        raise FailedPrecondition(f"key {source.path}: longer than {_SIZE_MAX} bytes")
    return raw
