"""The VOLUMEs of an image (Volumes of the image specification's config.md).

    mkdir    made in the container's own layer where the image lacks the directory
    bind     a directory of the container's own beside its layer, gone when the container is removed:
             <root>/volumes/<container id>/<n>
    ignore   nothing

What the caller mounts at the same path wins.  Kubernetes itself knows no volumes of images.
"""

import os
import stat
from collections.abc import Iterable

from rundlet.archive.shift import Shift
from rundlet.engine.external import mount_rootfs, unmount_rootfs
from rundlet.engine.mounts import clean_path
from rundlet.engine.options import Mount
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import remove_directory
from rundlet.engine.rootfs import find_directory
from rundlet.engine.undo import Undo
from rundlet.engine.userns import Owners
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.kernel.openat2 import open_in_root
from rundlet.store.snapshots import Snapshot

_MODE = 0o755


def volumes_path(root: str, container_id: str) -> str:
    """Where the volumes of a container are, with "bind"."""
    return f"{root}/volumes/{container_id}"


def make_image_volumes(
    parts: Parts,
    snapshot: Snapshot,
    bundle: str,
    declared: Iterable[str],
    mounts: Iterable[Mount],
    owners: Owners,
    undo: Undo,
) -> tuple[Mount, ...]:
    """Make the volumes that are not mounted over; the binds that the container needs for them.

    Raises InvalidArgument when the image has something else than a directory in the way.
    """
    taken = {"/", *(clean_path(mount.container_path) for mount in mounts)}
    paths = sorted({clean_path(path) for path in declared} - taken)
    if parts.settings.image_volumes == "bind":
        return _make_binds(parts, snapshot, paths, owners.shift, undo)
    if parts.settings.image_volumes == "mkdir":
        missing = [path for path in paths if find_directory(snapshot.lower, path) is None]
        if missing:
            _make_in_layer(snapshot, bundle, missing, owners)
    return ()


def _make_binds(
    parts: Parts, snapshot: Snapshot, paths: Iterable[str], shift: Shift | None, undo: Undo
) -> tuple[Mount, ...]:
    base = volumes_path(parts.settings.root, snapshot.key)
    undo.add(f"remove {base}", remove_directory, base)
    made = []
    for index, path in enumerate(paths):
        host_path = f"{base}/{index}"
        with translating(f"make {host_path}"):
            os.makedirs(host_path, mode=0o711)
            _take_after(host_path, find_directory(snapshot.lower, path), shift)
        made.append(Mount(container_path=path, host_path=host_path, selinux_relabel=True))
    return tuple(made)


def _take_after(host_path: str, original: os.stat_result | None, shift: Shift | None) -> None:
    """Owner and mode of the directory in the image: its user may be the only one who may write there."""
    owner = (original.st_uid, original.st_gid) if original else (0, 0)
    os.chown(host_path, *(shift.owner(*owner) if shift else owner))
    os.chmod(host_path, stat.S_IMODE(original.st_mode) if original else _MODE)


def _make_in_layer(snapshot: Snapshot, bundle: str, paths: Iterable[str], owners: Owners) -> None:
    """Through the merged view, so that a link of the image on the way leads where the container sees it."""
    mount_rootfs(bundle, snapshot, shifted=owners.stack)
    try:
        root = os.open(f"{bundle}/rootfs", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path in paths:
                _make_directories(root, path, owners.root())
        finally:
            os.close(root)
    finally:
        unmount_rootfs(bundle)


def _make_directories(root: int, path: str, owner: tuple[int, int]) -> None:
    parent = os.dup(root)
    try:
        names = path.strip("/").split("/")
        for depth, name in enumerate(names, 1):
            child = _make_directory(root, parent, name, "/".join(names[:depth]), owner)
            os.close(parent)
            parent = child
    except OSError as error:
        raise InvalidArgument(f"image: cannot make its volume {path!r}: {error.strerror}") from error
    finally:
        os.close(parent)


def _make_directory(root: int, parent: int, name: str, path: str, owner: tuple[int, int]) -> int:
    """A descriptor of the directory, made when it is missing."""
    try:
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        os.mkdir(name, _MODE, dir_fd=parent)
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
