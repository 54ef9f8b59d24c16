"""Volumes with options (`volume create -o type=… -o device=… -o o=…`): mount(8)'s words, made a mount on the host.

type    tmpfs, bind, or a file system of the kernel's
device  what is mounted: a path for bind, a block device
o       options, with commas: mount(2)'s flags by name, the rest is the file system's
"""

import os

from rundlet.errors import InvalidArgument
from rundlet.kernel import mount as kernel
from rundlet.kernel.failure import translating
from rundlet.step import step

_KEYS = ("type", "device", "o")
_FLAGS = {
    "ro": kernel.MS_RDONLY,
    "nosuid": kernel.MS_NOSUID,
    "nodev": kernel.MS_NODEV,
    "noexec": kernel.MS_NOEXEC,
    "noatime": kernel.MS_NOATIME,
    "relatime": kernel.MS_RELATIME,
    "bind": kernel.MS_BIND,
    "rbind": kernel.MS_BIND | kernel.MS_REC,
}
_PLAIN = ("rw", "defaults", "suid", "dev", "exec", "atime")


def check_options(options: dict[str, str]) -> None:
    """Raises InvalidArgument for what is not understood."""
    for key in options:
        if key not in _KEYS:
            raise InvalidArgument(f"volume option {key!r} is not known", hint=f"there are {', '.join(_KEYS)}")
    kind, device = options.get("type", ""), options.get("device", "")
    if options and not kind and not _is_bind(options):
        raise InvalidArgument("volume options: type: none is given", hint="as type=tmpfs or type=bind")
    if _is_bind(options) and not device.startswith("/"):
        raise InvalidArgument(f"volume option device: expected an absolute path, got {device!r}")


def mount_volume(path: str, options: dict[str, str]) -> None:
    """Idempotent."""
    if os.path.ismount(path):
        return
    flags, data = _plan_flags(options.get("o", ""))
    kind, device = options.get("type", ""), options.get("device", "")
    with translating(f"mount volume {path}"), step("volume.mount", path):
        if _is_bind(options):
            _bind(device, path, flags)
        else:
            kernel.mount(device or kind, path, kind, flags, data)


def _bind(device: str, path: str, flags: int) -> None:
    """mount(2) takes the other flags of a bind on a second call only."""
    recursive = flags & kernel.MS_REC
    kernel.mount(device, path, None, kernel.MS_BIND | recursive)
    rest = flags & ~(kernel.MS_BIND | kernel.MS_REC)
    if rest:
        kernel.mount(None, path, None, kernel.MS_BIND | kernel.MS_REMOUNT | rest)


def unmount_volume(path: str) -> None:
    """Idempotent."""
    if os.path.ismount(path):
        with translating(f"unmount volume {path}"):
            kernel.umount(path, kernel.MNT_DETACH | kernel.UMOUNT_NOFOLLOW)


def _is_bind(options: dict[str, str]) -> bool:
    words = options.get("o", "").split(",")
    return options.get("type") == "bind" or "bind" in words or "rbind" in words


def _plan_flags(text: str) -> tuple[int, str]:
    flags, data = 0, []
    for word in filter(None, text.split(",")):
        if word in _FLAGS:
            flags |= _FLAGS[word]
        elif word not in _PLAIN:
            data.append(word)
    return flags, ",".join(data)
