"""Whether files below a directory can be seen through a user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP).

The kernel and the file system must both be able to; asking is the only way to know.  The
question needs a user namespace, and this process has threads, so a small process asks.
"""

import os
import subprocess
import sys

import rundlet

_PROBE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from rundlet.kernel import mount
from rundlet.runtime.userns import make_user_namespace
userns = make_user_namespace(((0, 1000, 1),), ((0, 1000, 1),))
tree = mount.open_tree(sys.argv[2])
mount.mount_setattr(tree, set_attrs=mount.MOUNT_ATTR_IDMAP, userns_fd=userns)
"""
_TIMEOUT_S = 10.0
# overlayfs takes its layers by descriptor, and so as the detached idmapped mounts that they are, since this version.
_OVERLAY_SINCE = (6, 13)


def can_idmap(directory: str, kernel: tuple[int, int]) -> bool:
    """True when containers whose layers lie in `directory` can have user namespaces of their own."""
    if kernel < _OVERLAY_SINCE:
        return False
    source = os.path.dirname(os.path.dirname(os.path.abspath(rundlet.__file__)))
    command = [sys.executable, "-I", "-S", "-c", _PROBE, source, directory]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, env={}, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
