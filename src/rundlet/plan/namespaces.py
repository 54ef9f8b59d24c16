"""linux.namespaces and what hangs on them: id mappings, time offsets, names, network devices."""

from collections.abc import Sequence
from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.plan.checks import CONFIG, ID_MAX, check_absolute, check_id, check_range, check_text
from rundlet.plan.container import UserNamespace
from rundlet.plan.steps import (
    IdMap,
    JoinNamespace,
    MoveNetDevice,
    NewTimeNamespace,
    SetDomainname,
    SetHostname,
    Step,
    Unshare,
    WriteSysctl,
)
from rundlet.spec.runtime import IdMapping, Linux, RuntimeConfig

_CLONED = ("mount", "pid", "network", "ipc", "uts")
_KINDS = (*_CLONED, "user", "cgroup", "time")
_MAPPINGS_MAX = 340  # user_namespaces(7)
_NAME_MAX_BYTES = 64  # __NEW_UTS_LEN
_DEVICE_NAME_MAX_BYTES = 15  # IFNAMSIZ
_CLOCKS = ("monotonic", "boottime")


class Namespaces(NamedTuple):
    """`clone` are made with the process, `entry` is done with the host's rights, `unshared` inside."""

    clone: tuple[str, ...]
    pid_namespace: str
    user: UserNamespace | None
    entry: tuple[Step, ...]
    unshared: tuple[Step, ...]
    own: frozenset[str]


def plan_namespaces(linux: Linux) -> Namespaces:
    """Which namespaces are made, which joined; a kind named twice is an error (config-linux.md#namespaces)."""
    paths = _read_paths(linux)
    _check_dependents(linux, paths)
    user = _plan_user(linux, paths["user"]) if "user" in paths else None
    entry: list[Step] = [
        JoinNamespace(kind, path) for kind, path in paths.items() if path and kind not in ("pid", "user")
    ]
    entry += _plan_net_devices(linux)
    if paths.get("time") == "":
        entry.append(_plan_time(linux))
    return Namespaces(
        clone=tuple(kind for kind in _CLONED if paths.get(kind) == ""),
        pid_namespace=paths.get("pid", ""),
        user=user,
        entry=tuple(entry),
        unshared=(Unshare("cgroup"),) if paths.get("cgroup") == "" else (),
        own=frozenset(paths),
    )


def _read_paths(linux: Linux) -> dict[str, str]:
    """Kind → path to join, empty for a new one, in the order of the configuration."""
    paths: dict[str, str] = {}
    for index, item in enumerate(linux.namespaces or []):
        where = f"linux.namespaces[{index}]"
        if item.type not in _KINDS:
            raise InvalidArgument(
                f"{CONFIG}{where}.type: expected one of {', '.join(_KINDS)}, got {item.type!r}"
            )
        if item.type in paths:
            raise InvalidArgument(f"{CONFIG}{where}.type: {item.type} is given twice")
        paths[item.type] = check_absolute(item.path, f"{where}.path") if item.path else ""
    if "mount" not in paths:
        raise InvalidArgument(f"{CONFIG}linux.namespaces: expected a mount namespace, there is none")
    return paths


def _check_dependents(linux: Linux, paths: dict[str, str]) -> None:
    """Settings of a namespace that the container does not get would hit the host's."""
    for name, given, kind in (
        ("uidMappings", linux.uid_mappings, "user"),
        ("gidMappings", linux.gid_mappings, "user"),
        ("timeOffsets", linux.time_offsets, "time"),
        ("netDevices", linux.net_devices, "network"),
    ):
        if given and kind not in paths:
            raise InvalidArgument(f"{CONFIG}linux.{name}: set without a {kind} namespace in linux.namespaces")
    if linux.net_devices and paths.get("user") and not paths["network"]:
        raise InvalidArgument(
            f"{CONFIG}linux.netDevices: cannot go into a new network namespace of a user namespace joined by path"
        )
    if linux.time_offsets and paths["time"]:
        raise InvalidArgument(
            f"{CONFIG}linux.timeOffsets: a time namespace joined by path has its offsets already"
        )


def _plan_user(linux: Linux, path: str) -> UserNamespace:
    uid_map = plan_mappings(linux.uid_mappings, "linux.uidMappings")
    gid_map = plan_mappings(linux.gid_mappings, "linux.gidMappings")
    for name, given in (("uidMappings", uid_map), ("gidMappings", gid_map)):
        if not path and not given:
            raise InvalidArgument(
                f"{CONFIG}linux.{name}: expected at least one mapping for a new user namespace"
            )
    return UserNamespace(path, uid_map, gid_map)


def plan_mappings(mappings: Sequence[IdMapping] | None, where: str) -> IdMap:
    """(id inside, id outside, how many) of each."""
    check_range(len(mappings or ()), 0, _MAPPINGS_MAX, f"{where}: number of entries")
    planned = []
    for index, item in enumerate(mappings or ()):
        here = f"{where}[{index}]"
        check_id(item.container_id, f"{here}.containerID")
        check_id(item.host_id, f"{here}.hostID")
        check_range(item.size, 1, ID_MAX - max(item.container_id, item.host_id) + 1, f"{here}.size")
        planned.append((item.container_id, item.host_id, item.size))
    return tuple(planned)


def _plan_time(linux: Linux) -> NewTimeNamespace:
    offsets = []
    for clock, offset in (linux.time_offsets or {}).items():
        if clock not in _CLOCKS:
            raise InvalidArgument(
                f"{CONFIG}linux.timeOffsets: expected {' or '.join(_CLOCKS)}, got {clock!r}"
            )
        check_range(offset.secs, -(1 << 63), (1 << 63) - 1, f"linux.timeOffsets.{clock}.secs")
        check_range(offset.nanosecs, 0, 999_999_999, f"linux.timeOffsets.{clock}.nanosecs")
        offsets.append((clock, offset.secs, offset.nanosecs))
    return NewTimeNamespace(tuple(offsets))


def _plan_net_devices(linux: Linux) -> list[MoveNetDevice]:
    """config-linux.md#network-devices: names by dev_valid_name() of the kernel, no two alike."""
    steps = []
    taken: set[str] = set()
    for name, device in (linux.net_devices or {}).items():
        new_name = device.name or name
        for text in (name, new_name):
            if not _is_device_name(text):
                raise InvalidArgument(f"{CONFIG}linux.netDevices: {text!r} cannot name a network device")
        if new_name in taken:
            raise InvalidArgument(f"{CONFIG}linux.netDevices: {new_name} is given twice")
        taken.add(new_name)
        steps.append(MoveNetDevice(name, new_name))
    return steps


def _is_device_name(name: str) -> bool:
    fits = 0 < len(name.encode()) <= _DEVICE_NAME_MAX_BYTES
    return fits and name not in (".", "..") and not any(char in "/:%\0" or char.isspace() for char in name)


def plan_names(config: RuntimeConfig, own: frozenset[str]) -> list[Step]:
    """hostname and domainname, only where the UTS namespace is not the host's."""
    steps: list[Step] = []
    for name, value, step in (
        ("hostname", config.hostname, SetHostname),
        ("domainname", config.domainname, SetDomainname),
    ):
        if not value:
            continue
        if "uts" not in own:
            raise InvalidArgument(f"{CONFIG}{name}: set without a uts namespace in linux.namespaces")
        check_text(value, name)
        check_range(len(value.encode()), 1, _NAME_MAX_BYTES, f"{name}: length in bytes")
        steps.append(step(value))
    return steps


# What is the namespace's own, by the settings' first words (runc and crun have the same list).
_IPC_SETTINGS = ("kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
                 "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.auto_msgmni",
                 "kernel.msg_next_id", "kernel.sem_next_id", "kernel.shm_next_id")  # fmt: skip
_UTS_SETTINGS = {"kernel.domainname": "domainname", "kernel.hostname": "hostname"}


def plan_sysctls(linux: Linux, own: frozenset[str]) -> list[Step]:
    """linux.sysctl; one that no namespace of the container holds would change the host."""
    steps: list[Step] = []
    for name, value in (linux.sysctl or {}).items():
        check_text(name, "linux.sysctl")
        dotted = name.replace("/", ".") if "/" in name else name
        if not name or ".." in name or name.startswith(("/", ".")):
            raise InvalidArgument(f"{CONFIG}linux.sysctl: {name!r} names no setting below /proc/sys")
        kind = _sysctl_namespace(dotted)
        if kind not in own:
            raise InvalidArgument(
                f"{CONFIG}linux.sysctl: {name} is "
                + (f"set without a {kind} namespace in linux.namespaces" if kind else "the host's own")
            )
        steps.append(WriteSysctl(name, check_text(value, f"linux.sysctl.{name}")))
    return steps


def _sysctl_namespace(dotted: str) -> str:
    """The kind of namespace that a setting belongs to; empty for one of the whole machine."""
    if dotted.startswith("net."):
        return "network"
    if dotted.startswith("fs.mqueue.") or dotted in _IPC_SETTINGS:
        return "ipc"
    if dotted.startswith("user."):
        return "user"
    return "uts" if dotted in _UTS_SETTINGS else ""
