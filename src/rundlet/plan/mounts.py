"""runtime-spec mounts as steps: option names to flags (config.md#linux-mount-options)."""

from collections.abc import Mapping
from typing import NamedTuple

from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.kernel import mount as m
from rundlet.plan.steps import Bind, Mount, SetReadonly, Step
from rundlet.spec.runtime import Mount as SpecMount

# name → (flag to set, flag to clear), for mount(2)
_FLAGS: dict[str, tuple[int, int]] = {
    "ro": (m.MS_RDONLY, 0),
    "rw": (0, m.MS_RDONLY),
    "suid": (0, m.MS_NOSUID),
    "nosuid": (m.MS_NOSUID, 0),
    "dev": (0, m.MS_NODEV),
    "nodev": (m.MS_NODEV, 0),
    "exec": (0, m.MS_NOEXEC),
    "noexec": (m.MS_NOEXEC, 0),
    "sync": (m.MS_SYNCHRONOUS, 0),
    "async": (0, m.MS_SYNCHRONOUS),
    "dirsync": (m.MS_DIRSYNC, 0),
    "mand": (m.MS_MANDLOCK, 0),
    "nomand": (0, m.MS_MANDLOCK),
    "atime": (0, m.MS_NOATIME),
    "noatime": (m.MS_NOATIME, 0),
    "diratime": (0, m.MS_NODIRATIME),
    "nodiratime": (m.MS_NODIRATIME, 0),
    "relatime": (m.MS_RELATIME, 0),
    "norelatime": (0, m.MS_RELATIME),
    "strictatime": (m.MS_STRICTATIME, 0),
    "nostrictatime": (0, m.MS_STRICTATIME),
    "lazytime": (m.MS_LAZYTIME, 0),
    "nolazytime": (0, m.MS_LAZYTIME),
    "silent": (m.MS_SILENT, 0),
    "loud": (0, m.MS_SILENT),
    "symfollow": (0, m.MS_NOSYMFOLLOW),
    "nosymfollow": (m.MS_NOSYMFOLLOW, 0),
    "remount": (m.MS_REMOUNT, 0),
    "defaults": (0, 0),
}

# name → (attributes to set, attributes to clear), for mount_setattr(2); with a leading r: the whole tree
_ATTRS: dict[str, tuple[int, int]] = {
    "ro": (m.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, m.MOUNT_ATTR_RDONLY),
    "suid": (0, m.MOUNT_ATTR_NOSUID),
    "nosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "dev": (0, m.MOUNT_ATTR_NODEV),
    "nodev": (m.MOUNT_ATTR_NODEV, 0),
    "exec": (0, m.MOUNT_ATTR_NOEXEC),
    "noexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "noatime": (m.MOUNT_ATTR_NOATIME, m.MOUNT_ATTR__ATIME),
    "strictatime": (m.MOUNT_ATTR_STRICTATIME, m.MOUNT_ATTR__ATIME),
    "relatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "nodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
}

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
_LATER = ("idmap", "ridmap", "tmpcopyup")


class Options(NamedTuple):
    """A mount's option list, sorted by what each is for."""

    bind: str
    names: tuple[str, ...]
    recursive_names: tuple[str, ...]
    propagation: str
    data: str


def sort_options(options: list[str] | None, where: str) -> Options:
    """Split the option list; what is no known name is the file system's own (`data`)."""
    bind, propagation = "", ""
    names: list[str] = []
    recursive: list[str] = []
    data: list[str] = []
    for option in options or []:
        if option in ("bind", "rbind"):
            bind = option
        elif option in PROPAGATIONS:
            propagation = option
        elif option in _FLAGS:
            names.append(option)
        elif option[:1] == "r" and option[1:] in _ATTRS:
            recursive.append(option[1:])
        elif option in _LATER:
            raise Unimplemented(f"{where}: mount option {option} is not done by rundlet yet")
        else:
            data.append(option)
    return Options(bind, tuple(names), tuple(recursive), propagation, ",".join(data))


def _attrs(names: tuple[str, ...]) -> tuple[int, int]:
    """Attributes to set and to clear; a later name wins over an earlier one."""
    to_set, to_clear = 0, 0
    for name in names:
        on, off = _ATTRS.get(name, (0, 0))
        to_set = (to_set & ~off) | on
        to_clear = (to_clear & ~on) | off
    return to_set, to_clear


def _flags(names: tuple[str, ...]) -> int:
    flags = 0
    for name in names:
        on, off = _FLAGS[name]
        flags = (flags & ~off) | on
    return flags


def plan_mount(mount: SpecMount, where: str, bundle: str, cgroups: Mapping[str, str]) -> list[Step]:
    """The steps of one `mounts[]` entry; `where` is its JSON path.

    `cgroups` maps each controller to this container's directory in it ("" alone
    for version 2): the type "cgroup" shows exactly those.
    """
    if not mount.destination.startswith("/"):
        raise InvalidArgument(f"{where}.destination: expected an absolute path, got {mount.destination!r}")
    if mount.uid_mappings or mount.gid_mappings:
        raise Unimplemented(f"{where}: idmapped mounts are not done by rundlet yet")
    options = sort_options(mount.options, where)
    if options.bind or mount.type == "bind":
        return [_plan_bind(mount, options, where, bundle)]
    if mount.type in ("cgroup", "cgroup2"):
        return _plan_cgroup(mount.destination, options, cgroups)
    if not mount.type:
        raise InvalidArgument(f"{where}.type: expected a file system type for {mount.destination}")
    steps: list[Step] = [
        Mount(
            mount.type,
            mount.source or mount.type,
            mount.destination,
            _flags(options.names),
            options.data,
            options.propagation,
        )
    ]
    return steps


def _plan_bind(mount: SpecMount, options: Options, where: str, bundle: str) -> Bind:
    if not mount.source:
        raise InvalidArgument(f"{where}.source: a bind mount on {mount.destination} needs a source")
    source = mount.source if mount.source.startswith("/") else f"{bundle}/{mount.source}"
    names, whole = (options.recursive_names, True) if options.recursive_names else (options.names, False)
    to_set, to_clear = _attrs(names)
    if whole:
        more_set, more_clear = _attrs(options.names)
        to_set, to_clear = to_set | more_set, to_clear | more_clear
    recursive = options.bind == "rbind"
    return Bind(source, mount.destination, recursive, to_set, to_clear, options.propagation, whole)


def _plan_cgroup(target: str, options: Options, cgroups: Mapping[str, str]) -> list[Step]:
    """Version 2: the container's own directory; version 1: a tmpfs with one directory a controller."""
    to_set, _ = _attrs(options.names)
    if set(cgroups) == {""}:
        return [Bind(cgroups[""], target, False, to_set, 0, options.propagation)]
    flags = _flags(options.names) & ~m.MS_RDONLY
    steps: list[Step] = [Mount("tmpfs", "tmpfs", target, flags, "mode=755", options.propagation)]
    for controller, directory in sorted(cgroups.items()):
        steps.append(Bind(directory, f"{target}/{controller.removeprefix('name=')}", False, to_set, 0))
    if to_set & m.MOUNT_ATTR_RDONLY:
        steps.append(SetReadonly(target))
    return steps
