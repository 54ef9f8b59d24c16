"""How a container of a pod with a user namespace gets a root file system with owners that fit.

    idmap       overlay of layers seen through the namespace (mount_setattr(2), MOUNT_ATTR_IDMAP)
    metacopy    overlay of the layers and of their files' owners, there once more (`archive.shift`)
    copy        overlay of copies of the layers

Kernel and file system must be able to; asking is the only way to know.  The question needs a user
namespace, and this process has threads, so a small process asks.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

import rundlet
from rundlet.archive.shift import Data

Wanted = Literal["auto", "idmap", "metacopy", "copy"]

_PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
from rundlet.kernel import mount
from rundlet.kernel.namespace import is_mapped
from rundlet.runtime.userns import make_user_namespace
users, groups = (((0, 1000 if is_mapped(name, 1000) else 0, 1),) for name in ("uid_map", "gid_map"))
userns = make_user_namespace(users, groups)
print("users", flush=True)
for path in sys.argv[2:]:
    tree = mount.open_tree(path)
    mount.mount_setattr(tree, set_attrs=mount.MOUNT_ATTR_IDMAP, userns_fd=userns)
print("idmap")
"""
_TIMEOUT_S = 10.0
# overlayfs takes its layers by descriptor, and so as the detached idmapped mounts that they are, since this version.
_OVERLAY_SINCE = (6, 13)
# Each needs two directories, and the names of all must fit into a page.
_METACOPY_LAYERS_MAX = 30


class Abilities(NamedTuple):
    """Of this host: user namespaces at all, overlays of idmapped layers where the layers lie."""

    users: bool = False
    idmap: bool = False


def read_abilities(directories: Sequence[str], kernel: tuple[int, int]) -> Abilities:
    """What containers whose layers lie in `directories` can have."""
    source = os.path.dirname(os.path.dirname(os.path.abspath(rundlet.__file__)))
    command = [sys.executable, "-I", "-S", "-c", _PROBE, source, *directories]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, env={}, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Abilities()
    words = done.stdout.split()
    return Abilities(b"users" in words, b"idmap" in words and kernel >= _OVERLAY_SINCE)


def can_map_users(wanted: Wanted, abilities: Abilities) -> bool:
    """Whether pods can have user namespaces, when the configuration says `wanted`."""
    return abilities.users and (abilities.idmap or wanted != "idmap")


def uses_idmap(wanted: Wanted, abilities: Abilities) -> bool:
    """Whether root file systems are made of the layers themselves, seen through the mapping."""
    return wanted == "idmap" or (wanted == "auto" and abilities.idmap)


def choose_data(wanted: Wanted, *, metacopy: bool, layers: int) -> Data:
    """How so many layers are there once more; `metacopy` is whether overlayfs finds their data in the originals."""
    return "copy" if wanted == "copy" or not metacopy or layers > _METACOPY_LAYERS_MAX else "refer"
