"""Images mounted to be looked at, read only.

    <run root>/image-mounts/<id>      the image's files, by overlayfs; <id>: its first 32 hex digits

A mount point without a mount is what a reboot or a kill left; it is used again.
"""

import os
from typing import Final

from rundlet.errors import FailedPrecondition
from rundlet.kernel import mount as kernel
from rundlet.kernel.failure import translating
from rundlet.kernel.overlay import marking_option
from rundlet.store.images import ImageRecord
from rundlet.store.store import Store

_DIRECTORY: Final = "image-mounts"
_DIGITS: Final = 32


def mount_image(store: Store, run_root: str, image: ImageRecord) -> str:
    """Mount the image, unless it is mounted; returns where."""
    path = _path(run_root, image)
    with translating(f"mount image {image.id}"):
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.path.ismount(path):
            return path
        lower = store.layers.stack(image.layers)
        if not lower:
            raise FailedPrecondition(f"image {image.id} has no layers to mount")
        if len(lower) == 1:  # overlayfs wants two
            kernel.mount(lower[0], path, None, kernel.MS_BIND)
            kernel.mount(None, path, None, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)
        else:
            kernel.mount(
                "overlay", path, "overlay", kernel.MS_RDONLY, f"lowerdir={':'.join(lower)}{marking_option()}"
            )
    return path


def unmount_image(run_root: str, image: ImageRecord) -> bool:
    """Unmount the image; False when it was not mounted."""
    path = _path(run_root, image)
    with translating(f"unmount image {image.id}"):
        mounted = os.path.ismount(path)
        if mounted:
            kernel.umount(path)
        if os.path.isdir(path):
            os.rmdir(path)
    return mounted


def list_mounts(store: Store, run_root: str) -> list[tuple[ImageRecord, str]]:
    """The mounted images and where they are."""
    paths = [(image, _path(run_root, image)) for image in store.images.list()]
    return [(image, path) for image, path in paths if os.path.ismount(path)]


def _path(run_root: str, image: ImageRecord) -> str:
    return f"{run_root}/{_DIRECTORY}/{image.id.partition(':')[2][:_DIGITS]}"
