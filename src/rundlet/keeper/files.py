"""The small files by which a supervisor tells its successor what it must know, and where they lie."""

import json
import os
from typing import Any

from rundlet.kernel import mount

_VOLATILE = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC


def write_json(path: str, value: object) -> None:
    """Atomically: the whole of it or nothing is read back."""
    fresh = f"{path}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(value).encode())
    finally:
        os.close(fd)
    os.rename(fresh, path)


def read_json(path: str) -> Any:
    """What `write_json` wrote; None when it is not there."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None


def remove_tree(directory: str, first: str = "") -> None:
    """A flat directory with all in it, beginning with the file `first`; nothing to do when it is gone."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in sorted(names, key=lambda name: name != first):
        os.unlink(f"{directory}/{name}")
    os.rmdir(directory)


def make_volatile(directory: str) -> None:
    """A new directory for what ends with this boot: a tmpfs of its own, or a plain one without the right to mount.

    On a disk each of some thirteen inodes a pod costs 0.1 ms and more (ext4 looks for one that was not
    freed lately).  The mount is private: namespaces pinned in it show in no other mount namespace.
    """
    os.makedirs(directory, mode=0o700)
    try:
        mount.mount("rundlet", directory, "tmpfs", _VOLATILE, "mode=700")
        mount.mount(None, directory, None, mount.MS_PRIVATE)
    except PermissionError:
        pass


def remove_volatile(directory: str) -> None:
    """Undo `make_volatile`, when nothing is in it; nothing to do when it is gone."""
    try:
        if os.listdir(directory):
            return
    except FileNotFoundError:
        return
    try:
        mount.umount(directory, mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW)
    except OSError:
        pass  # a plain one
    os.rmdir(directory)
