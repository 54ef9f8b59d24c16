"""hostPath volumes: what must be there, and what is made."""

import os
import stat
from collections.abc import Callable

from rundlet.errors import FailedPrecondition, NotFound
from rundlet.kernel.failure import translating
from rundlet.kube.model import HostPath

_KINDS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}
_CREATE = "OrCreate"


def prepare_host_path(wanted: HostPath) -> None:
    """Raises NotFound for a path that is not there, FailedPrecondition for one of another type."""
    if wanted.type.endswith(_CREATE) and not os.path.lexists(wanted.path):
        with translating(f"make {wanted.path}"):
            if wanted.type == "DirectoryOrCreate":
                os.makedirs(wanted.path, mode=0o755)
            else:
                os.close(os.open(wanted.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    try:
        mode = os.stat(wanted.path).st_mode
    except OSError as error:
        raise NotFound(
            f"hostPath {wanted.path}: {error.strerror}", hint="type DirectoryOrCreate makes it"
        ) from error
    kind = wanted.type.removesuffix(_CREATE)
    if kind and not _KINDS[kind][0](mode):
        raise FailedPrecondition(f"hostPath {wanted.path} is no {_KINDS[kind][1]}")
