"""runtime-spec mounts as steps: option names to flags (config.md#linux-mount-options)."""

from collections.abc import Mapping
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.kernel import mount as m
from rundlet.plan.checks import CONFIG, check_absolute, check_inside, check_text
from rundlet.plan.namespaces import plan_mappings
from rundlet.plan.steps import Bind, MakeSymlink, Mount, SetReadonly, Step
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
    "acl": (m.MS_POSIXACL, 0),
    "noacl": (0, m.MS_POSIXACL),
    "iversion": (m.MS_I_VERSION, 0),
    "noiversion": (0, m.MS_I_VERSION),
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
    # What is not to be the one is the kernel's default again, which is relatime.
    "atime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "norelatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "nostrictatime": (m.MOUNT_ATTR_RELATIME, m.MOUNT_ATTR__ATIME),
    "nodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
}

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")


def option_names() -> list[str]:
    """Every option that is not a file system's own, in order (features.md#mount-options)."""
    recursive = (f"r{name}" for name in _ATTRS)
    return sorted({*_FLAGS, *recursive, *PROPAGATIONS, "bind", "rbind", "idmap", "ridmap", "tmpcopyup"})


class Options(NamedTuple):
    """A mount's option list, sorted by what each is for."""

    bind: str
    names: tuple[str, ...]
    recursive_names: tuple[str, ...]
    propagation: str
    idmap: str
    copy_up: bool
    data: str


class Parts(NamedTuple):
    """What mounts depend on besides their own entry.

    `cgroups` maps each controller to this container's directory in it ("" alone
    for version 2); `own` holds the kinds of namespaces that the container has.
    """

    bundle: str
    cgroups: Mapping[str, str]
    own: frozenset[str]
    label: str


def sort_options(options: list[str] | None) -> Options:
    """Split the option list; what is no known name is the file system's own (`data`)."""
    bind, propagation, idmap, copy_up = "", "", "", False
    names: list[str] = []
    recursive: list[str] = []
    data: list[str] = []
    for option in options or []:
        if option in ("bind", "rbind"):
            bind = option
        elif option in PROPAGATIONS:
            propagation = option
        elif option in ("idmap", "ridmap"):
            idmap = option
        elif option in _FLAGS:
            names.append(option)
        elif option[:1] == "r" and option[1:] in _ATTRS:
            recursive.append(option[1:])
        elif option == "tmpcopyup":
            copy_up = True
        elif option:
            data.append(option)
    return Options(bind, tuple(names), tuple(recursive), propagation, idmap, copy_up, ",".join(data))


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


def plan_mount(mount: SpecMount, where: str, parts: Parts) -> list[Step]:
    """The steps of one `mounts[]` entry; `where` is its JSON path."""
    check_absolute(mount.destination, f"{where}.destination")
    options = sort_options(mount.options)
    is_bind = bool(options.bind) or mount.type == "bind"
    _check_options(mount, options, is_bind, where, parts.own)
    if "remount" in options.names:
        return [_plan_remount(mount, options, is_bind)]
    check_inside(mount.destination, f"{where}.destination")
    if is_bind:
        return [_plan_bind(mount, options, where, parts.bundle)]
    if mount.type in ("cgroup", "cgroup2"):
        return _plan_cgroup(mount.destination, options, parts)
    if mount.type in ("", "none"):
        raise InvalidArgument(
            f"{CONFIG}{where}.type: expected a file system, or bind or rbind among the options"
        )
    flags = _flags((*options.names, *options.recursive_names))
    data = add_label(options.data, parts.label if mount.type not in _UNLABELLED else "")
    source = mount.source or mount.type
    return [Mount(mount.type, source, mount.destination, flags, data, options.propagation, options.copy_up)]


_UNLABELLED = ("proc", "sysfs", "mqueue")


def add_label(data: str, label: str) -> str:
    """SELinux's mount option beside the file system's own."""
    return ",".join(filter(None, (data, f'context="{label}"' if label else "")))


def _check_options(
    mount: SpecMount, options: Options, is_bind: bool, where: str, own: frozenset[str]
) -> None:
    maps = bool(mount.uid_mappings), bool(mount.gid_mappings)
    if any(maps) and not all(maps):
        raise InvalidArgument(f"{CONFIG}{where}: expected uidMappings and gidMappings, or neither")
    if (any(maps) or options.idmap) and not is_bind:
        raise InvalidArgument(f"{CONFIG}{where}: expected a bind mount, only those can be idmapped")
    if options.copy_up and (is_bind or mount.type != "tmpfs"):
        raise InvalidArgument(f"{CONFIG}{where}: expected type tmpfs with the option tmpcopyup")
    if options.idmap and not all(maps) and "user" not in own:
        raise InvalidArgument(
            f"{CONFIG}{where}: {options.idmap} needs uidMappings and gidMappings, or a user namespace"
        )
    for name, text in (("source", mount.source), ("type", mount.type), ("options", options.data)):
        check_text(text, f"{where}.{name}")


def _plan_remount(mount: SpecMount, options: Options, is_bind: bool) -> Mount:
    """Other flags for what is mounted already; with "bind" of that mount alone (mount(2))."""
    flags = _flags((*options.names, *options.recursive_names)) | (m.MS_BIND if is_bind else 0)
    return Mount(
        mount.type, mount.source or "none", mount.destination, flags, options.data, options.propagation
    )


def _plan_bind(mount: SpecMount, options: Options, where: str, bundle: str) -> Bind:
    if not mount.source:
        raise InvalidArgument(f"{CONFIG}{where}.source: expected a path, a bind mount needs a source")
    source = mount.source if mount.source.startswith("/") else f"{bundle}/{mount.source}"
    names, whole = (options.recursive_names, True) if options.recursive_names else (options.names, False)
    to_set, to_clear = _attrs(names)
    if whole:
        more_set, more_clear = _attrs(options.names)
        to_set, to_clear = to_set | more_set, to_clear | more_clear
    uid_map = plan_mappings(mount.uid_mappings, f"{where}.uidMappings")
    gid_map = plan_mappings(mount.gid_mappings, f"{where}.gidMappings")
    return Bind(
        source,
        mount.destination,
        options.bind == "rbind",
        to_set,
        to_clear,
        options.propagation,
        whole,
        options.idmap or ("idmap" if uid_map else ""),
        uid_map,
        gid_map,
    )


def _plan_cgroup(target: str, options: Options, parts: Parts) -> list[Step]:
    """Version 2: the container's own group; version 1: a tmpfs with one directory a hierarchy.

    In a cgroup namespace the file system itself shows the group as its root;
    without one, the group's directory is bound there.
    """
    namespaced = "cgroup" in parts.own
    to_set, _ = _attrs(options.names)
    flags = _flags(options.names)
    if set(parts.cgroups) == {""}:
        if namespaced:
            return [Mount("cgroup2", "cgroup", target, flags, options.data, options.propagation)]
        return [Bind(parts.cgroups[""], target, False, to_set, 0, options.propagation)]
    steps: list[Step] = [
        Mount("tmpfs", "tmpfs", target, flags & ~m.MS_RDONLY, "mode=755", options.propagation)
    ]
    together: dict[str, list[str]] = {}
    for controller, directory in sorted(parts.cgroups.items()):
        together.setdefault(directory, []).append(controller)
    for directory, controllers in together.items():
        name = ",".join(controllers).removeprefix("name=")
        if namespaced:
            data = ",".join(f"none,{key}" if key.startswith("name=") else key for key in controllers)
            steps.append(Mount("cgroup", "cgroup", f"{target}/{name}", flags, data))
        else:
            steps.append(Bind(directory, f"{target}/{name}", False, to_set, 0))
        if len(controllers) > 1:
            steps += [MakeSymlink(f"{target}/{controller}", name) for controller in controllers]
    if to_set & m.MOUNT_ATTR_RDONLY:
        steps.append(SetReadonly(target))
    return steps
