"""Reading and writing the small files of a cgroup directory."""

import errno
import os

from rundlet.errors import (
    Error,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

_READ_BYTES = 1 << 16
_KINDS: dict[int, type[Error]] = {
    errno.EINVAL: InvalidArgument,
    errno.ERANGE: InvalidArgument,
    errno.E2BIG: InvalidArgument,
    errno.ENAMETOOLONG: InvalidArgument,
    errno.ENOENT: NotFound,
    errno.ENODEV: NotFound,
    errno.EBUSY: FailedPrecondition,
    errno.ENOTEMPTY: FailedPrecondition,
    errno.EACCES: PermissionDenied,
    errno.EPERM: PermissionDenied,
    errno.EROFS: PermissionDenied,
    errno.ENOSPC: ResourceExhausted,
    errno.EAGAIN: ResourceExhausted,
    errno.ENOMEM: ResourceExhausted,
}


def describe_fault(error: OSError, what: str) -> Error:
    """`error` as one of ours: "<what>: no such file or directory"."""
    kind = _KINDS.get(error.errno or 0, Unavailable)
    reason = error.strerror or str(error)
    return kind(f"{what}: {reason[:1].lower()}{reason[1:]}")


def read_text(path: str) -> str:
    """The whole of a cgroup or proc file; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a file object costs five more system calls
    try:
        parts = []
        while part := os.read(fd, _READ_BYTES):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write_text(path: str, value: str) -> None:
    """One write(2) of `value`, as cgroup files want it; raises OSError.

    Never creates: a missing file means that the kernel lacks the knob.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
