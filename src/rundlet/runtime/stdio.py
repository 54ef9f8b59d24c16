"""The descriptors that a container's process has as 0, 1 and 2."""

import errno
import os
import stat
from typing import NamedTuple

_NULL = os.makedev(1, 3)


class Stdio(NamedTuple):
    """Descriptors that become 0, 1 and 2."""

    stdin: int
    stdout: int
    stderr: int


def own_stdio(stdio: Stdio, uid: int) -> None:
    """They belong to the user `uid`, as with runc: programs reopen /dev/stdout.

    But for /dev/null, which is everybody's, and what cannot change its owner.
    """
    for fd in stdio:
        found = os.fstat(fd)
        if uid < 0 or found.st_uid == uid or _is_null(found):
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS):
                raise


def reopen_null() -> None:
    """Where 0, 1 or 2 is the host's /dev/null, the container's own takes its place.

    criu cannot dump a file that no mount of the container leads to, and a
    container needs no file of the host.  A container without one keeps the host's.
    """
    for fd in range(3):
        if not _is_null(os.fstat(fd)):
            continue
        try:
            if not _is_null(os.lstat("/dev/null")):
                return
            own = os.open("/dev/null", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return
        os.dup2(own, fd, inheritable=True)
        os.close(own)


def _is_null(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL
