"""Device nodes and device-cgroup rules of a container (config-linux.md#devices)."""

import os
import stat
from collections.abc import Iterator, Sequence

from rundlet.engine.options import Device as DeviceOption
from rundlet.engine.options import DeviceAccess
from rundlet.errors import InvalidArgument
from rundlet.spec.runtime import Device, DeviceRule

_ALL = DeviceRule(allow=True, access="rwm")
_NONE = DeviceRule(allow=False, access="rwm")
# A privileged container gets the host's devices, but not what each container has of its own.
_OWN = frozenset(
    "pts shm mqueue console ptmx null zero full tty random urandom fd stdin stdout stderr core"
    " .udev .lxc .lxd-mounts".split()
)


def device_rules(
    devices: Sequence[tuple[Device, str]], accesses: Sequence[DeviceAccess] = (), *, privileged: bool
) -> list[DeviceRule]:
    """Rules in order, to which the plan adds the default devices; `devices` are (node, permissions) pairs."""
    if privileged:
        return [_ALL]
    extra = [
        DeviceRule(allow=True, type=node.type, major=node.major, minor=node.minor, access=permissions)
        for node, permissions in devices
    ]
    further = [
        DeviceRule(allow=True, type=one.type, major=one.major, minor=one.minor, access=one.permissions)
        for one in accesses
    ]
    return [_NONE, *extra, *further]


def check_devices(devices: Sequence[DeviceOption]) -> None:
    for index, device in enumerate(devices):
        where = f"devices[{index}]"
        if not device.host_path.startswith("/") or not device.container_path.startswith("/"):
            raise InvalidArgument(f"{where}: host_path and container_path must be absolute paths")
        if set(device.permissions) - set("rwm"):
            raise InvalidArgument(f"{where}.permissions: {device.permissions!r} has more than r, w and m")


def find_devices(wanted: Sequence[DeviceOption], *, privileged: bool) -> list[tuple[Device, str]]:
    """What the options name, read from the host: (node, permissions) by path in the container.

    A directory stands for every device below it.
    Raises InvalidArgument for a path that is no device.
    """
    found: dict[str, tuple[Device, str]] = {}
    if privileged:
        found.update((node.path, (node, "rwm")) for node in _host_devices())
    for index, option in enumerate(wanted):
        permissions = option.permissions or "rwm"
        nodes = list(_devices_at(option.host_path, option.container_path))
        if not nodes:
            raise InvalidArgument(f"devices[{index}].host_path: no device at {option.host_path}")
        found.update((node.path, (node, permissions)) for node in nodes)
    return list(found.values())


def _host_devices() -> Iterator[Device]:
    for entry in sorted(os.scandir("/dev"), key=lambda entry: entry.name):
        if entry.name not in _OWN and not entry.is_symlink():
            yield from _devices_at(entry.path, entry.path)


def _devices_at(host_path: str, container_path: str) -> Iterator[Device]:
    real = os.path.realpath(host_path)
    if not os.path.isdir(real):
        yield from _device_at(real, container_path)
        return
    for directory, names, files in os.walk(real):
        names[:] = [name for name in names if name not in _OWN]
        for name in sorted(files):
            path = os.path.join(directory, name)
            yield from _device_at(path, container_path + path.removeprefix(real))


def _device_at(host_path: str, container_path: str) -> Iterator[Device]:
    try:
        info = os.lstat(host_path)
    except OSError:
        return
    if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        yield Device(
            type="c" if stat.S_ISCHR(info.st_mode) else "b",
            path=container_path,
            major=os.major(info.st_rdev),
            minor=os.minor(info.st_rdev),
            file_mode=stat.S_IMODE(info.st_mode),
            uid=info.st_uid,
            gid=info.st_gid,
        )
