"""The descriptors that a container's process has as 0, 1 and 2."""

import os
import stat
from typing import NamedTuple


class Stdio(NamedTuple):
    """Descriptors that become 0, 1 and 2."""

    stdin: int
    stdout: int
    stderr: int


def own_stdio(stdio: Stdio, uid: int) -> None:
    """Pipes and terminals belong to the user `uid`: programs reopen /dev/stdout.  Files stay their owner's."""
    for fd in stdio:
        found = os.fstat(fd)
        is_stream = stat.S_ISFIFO(found.st_mode) or (stat.S_ISCHR(found.st_mode) and os.isatty(fd))
        if is_stream and uid >= 0 and found.st_uid != uid:
            os.fchown(fd, uid, -1)
