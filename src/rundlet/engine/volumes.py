"""Image volumes: the files of an image, read-only, at a path of a container.

    <run_root>/containers/<id>/volumes/<n>    the image's layers, merged, mounted on the host

The mount is the engine's, so that a path below it can be looked up safely; the container
gets a bind of it.  A snapshot of its own keeps the image from being removed meanwhile.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.archive.shift import Shift
from rundlet.engine.external import overlay_options
from rundlet.engine.options import Mount
from rundlet.engine.parts import Parts
from rundlet.engine.undo import Undo
from rundlet.engine.userns import shift_layers
from rundlet.errors import Error, InvalidArgument, NotFound
from rundlet.kernel import mount
from rundlet.kernel.failure import translating
from rundlet.kernel.openat2 import open_in_root
from rundlet.step import step
from rundlet.store.images import ImageRecord

_FLAGS = mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV


# cri-api's pkg/errors: the kubelet knows this failure by the beginning of the message.
VOLUME_FAILED = "ImageVolumeMountFailed"


class Volumes(NamedTuple):
    """The mounts with host paths in place of images, and the image of each by container path."""

    mounts: tuple[Mount, ...]
    images: dict[str, str]


class Looks(NamedTuple):
    """What an image's files are to a container: for SELinux, and in a user namespace of its pod's own."""

    label: str = ""
    shift: Shift | None = None


def mount_volumes(
    parts: Parts, container_id: str, bundle: str, mounts: Sequence[Mount], looks: Looks, undo: Undo
) -> Volumes:
    """Mount the images among the `mounts`.

    Raises NotFound for an image that is not here, InvalidArgument for a path that it does not have.
    """
    planned: list[Mount] = []
    images: dict[str, str] = {}
    for index, wanted in enumerate(mounts):
        if not wanted.image:
            planned.append(wanted)
            continue
        try:
            image = _find_image(parts, wanted.image, index)
            path = _mount_image(parts, container_id, bundle, index, image, looks, undo)
            source = _resolve(path, wanted.image_sub_path, index)
        except Error as error:
            raise type(error)(f"{VOLUME_FAILED}: {error.message}", hint=error.hint) from error
        # The files have fitting owners already, and overlayfs cannot be seen through a mapping.
        planned.append(
            replace(wanted, host_path=source, image="", readonly=True, uid_mappings=(), gid_mappings=())
        )
        images[wanted.container_path] = image.digests[0] if image.digests else image.id
    return Volumes(tuple(planned), images)


def _find_image(parts: Parts, text: str, index: int) -> ImageRecord:
    image = parts.find_image(text)
    if image is None:
        raise NotFound(f"mounts[{index}].image: image {text!r} is not on this node", hint="pull it first")
    return image


def _snapshot_key(container_id: str, index: int) -> str:
    return f"{container_id}-volume-{index}"


def _mount_image(
    parts: Parts, container_id: str, bundle: str, index: int, image: ImageRecord, looks: Looks, undo: Undo
) -> str:
    key = _snapshot_key(container_id, index)
    undo.add(f"remove snapshot {key}", parts.store.snapshots.remove, key)
    snapshot = parts.store.snapshots.prepare(key, image.id)
    layers, metacopy = snapshot.lower, False
    if looks.shift:
        layers, metacopy = shift_layers(parts, looks.shift, snapshot)
    path = f"{bundle}/volumes/{index}"
    undo.add(f"unmount {path}", _unmount, path)
    with translating(f"mount image {image.id} on {path}"), step("container.volume", container_id):
        os.makedirs(path, mode=0o711)
        # The empty upper directory is one more lower one: overlayfs wants two when nothing can be written.
        options = overlay_options((snapshot.upper, *layers), looks.label, metacopy=metacopy)
        mount.mount("overlay", path, "overlay", _FLAGS, options)
    return path


def _resolve(path: str, sub_path: str, index: int) -> str:
    """The place of `sub_path` under the mounted image, links resolved inside it."""
    if not sub_path:
        return path
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = open_in_root(root, sub_path, os.O_PATH)
    except OSError as error:
        raise InvalidArgument(
            f"mounts[{index}].image_sub_path: the image has no {sub_path!r}: {error.strerror}"
        ) from error
    finally:
        os.close(root)
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _unmount(path: str) -> None:
    try:
        mount.umount(path, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)
    except OSError:
        pass  # it was never mounted, or a reboot took it


def unmount_volumes(parts: Parts, container_id: str, bundle: str, mounts: Sequence[Mount]) -> None:
    """Before the bundle and the container's record go; nothing happens for what is gone already."""
    for index, wanted in enumerate(mounts):
        if wanted.image:
            _unmount(f"{bundle}/volumes/{index}")
            parts.store.snapshots.remove(_snapshot_key(container_id, index))
