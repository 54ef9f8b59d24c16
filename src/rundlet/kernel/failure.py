"""errno in, the error taxonomy out: the one table for files and disks."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from rundlet import errors

_KINDS: dict[int, type[errors.Error]] = {
    errno.ENOSPC: errors.ResourceExhausted,
    errno.EDQUOT: errors.ResourceExhausted,
    errno.EMFILE: errors.ResourceExhausted,
    errno.ENFILE: errors.ResourceExhausted,
    errno.ENOMEM: errors.ResourceExhausted,
    errno.EPERM: errors.PermissionDenied,
    errno.EACCES: errors.PermissionDenied,
    errno.EROFS: errors.PermissionDenied,
    errno.ENOENT: errors.NotFound,
    errno.EEXIST: errors.AlreadyExists,
    errno.EBUSY: errors.FailedPrecondition,
    errno.EIO: errors.DataLoss,
}
_HINTS = {
    errno.ENOSPC: "free some disk space, or remove images",
    errno.EDQUOT: "the disk quota is used up",
    errno.EMFILE: "raise the open file limit",
    errno.EROFS: "the file system is mounted read-only",
}


def translate_os_error(
    error: OSError, what: str, otherwise: type[errors.Error] = errors.Internal
) -> errors.Error:
    """`error` as one of the taxonomy: "<what>: <reason>"; `otherwise` for an errno without a class.

    The caller raises it from `error`.
    """
    number = error.errno or 0
    reason = os.strerror(number).lower() if number else str(error)
    return _KINDS.get(number, otherwise)(f"{what}: {reason}", hint=_HINTS.get(number, ""))


def is_disk_full(error: BaseException) -> bool:
    """Whether `error` was raised because a disk or quota is full."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Raises an OSError of the block as one of the taxonomy, beginning with `what`."""
    try:
        yield
    except OSError as error:
        raise translate_os_error(error, what) from error
