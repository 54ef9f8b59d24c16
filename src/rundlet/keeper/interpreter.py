"""How a keeper is started: away from its starter, and by a private way to the interpreter."""

import os
import sys
from typing import NoReturn

from rundlet.kernel import mount, prctl
from rundlet.step import environment


def enter_private_interpreter(argv: list[str]) -> NoReturn:
    """Run on from a read-only mount of the interpreter that no path leads to, as a child subreaper.

    A container's first process is this interpreter until execve(2), and what it
    executes can name /proc/self/exe: that must not be a way to write to the
    host's python (CVE-2019-5736).
    """
    executable = os.path.realpath(sys.executable)
    fd = mount.open_tree(executable)
    mount.mount_setattr(fd, set_attrs=mount.MOUNT_ATTR_RDONLY)
    prctl.set_child_subreaper()
    os.execve(fd, [executable, *argv], {"LC_ALL": "C.UTF-8", **environment()})
