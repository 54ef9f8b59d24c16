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
        if uid < 0 or found.st_uid == uid or (stat.S_ISCHR(found.st_mode) and found.st_rdev == _NULL):
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL, errno.EROFS):
                raise
