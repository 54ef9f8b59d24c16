"""The mounts of a container: the defaults of config-linux.md, the pod's files, the caller's.

Pure, but for `resolve_sources`, which looks at the host before the plan is made.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from rundlet.engine.options import IdMapping
from rundlet.engine.options import Mount as MountOption
from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.spec.runtime import IdMapping as SpecMapping
from rundlet.spec.runtime import Mount

_PROPAGATION = {"private": "rprivate", "host-to-container": "rslave", "bidirectional": "rshared"}
# CRI's mount_options (1.37) allow exactly these.
_EXTRA_OPTIONS = frozenset(("noexec", "nodev", "nosuid", "exec", "dev", "suid", "noatime", "relatime"))
_GUARDED = ["nosuid", "noexec", "nodev"]


class PodFiles(NamedTuple):
    """Host paths of what all containers of a pod share; `shm` may be the host's own."""

    hosts: str
    hostname: str
    resolv_conf: str
    shm: str


def clean_path(path: str) -> str:
    """Absolute and normal; normpath alone keeps the two slashes of "//" (POSIX)."""
    return os.path.normpath("/" + path.lstrip("/"))


def check_mounts(mounts: Sequence[MountOption]) -> None:
    """Raises InvalidArgument "mounts[1].container_path: …"."""
    for index, mount in enumerate(mounts):
        _check_mount(mount, f"mounts[{index}]")


def _check_mount(mount: MountOption, where: str) -> None:
    if not mount.container_path.startswith("/"):
        raise InvalidArgument(
            f"{where}.container_path: must be an absolute path, got {mount.container_path!r}"
        )
    if clean_path(mount.container_path) == "/":
        raise InvalidArgument(f"{where}.container_path: cannot be the root directory")
    if [bool(mount.host_path), bool(mount.image), mount.tmpfs is not None].count(True) != 1:
        raise InvalidArgument(f"{where}: exactly one of host_path, image and tmpfs must be given")
    _check_image(mount, where)
    _check_mappings(mount, where)
    if mount.host_path and not mount.host_path.startswith("/"):
        raise InvalidArgument(f"{where}.host_path: must be an absolute path, got {mount.host_path!r}")
    if mount.recursive_readonly and not mount.readonly:
        raise InvalidArgument(f"{where}.recursive_readonly: needs readonly")
    if mount.recursive_readonly and mount.propagation != "private":
        raise InvalidArgument(f"{where}.recursive_readonly: needs private propagation")
    for option in mount.options:
        if option not in _EXTRA_OPTIONS:
            raise InvalidArgument(f"{where}.options: unknown mount option {option!r}")


def _check_image(mount: MountOption, where: str) -> None:
    if mount.image_sub_path and not mount.image:
        raise InvalidArgument(f"{where}.image_sub_path: needs an image")
    if mount.image_sub_path.startswith("/") or ".." in mount.image_sub_path.split("/"):
        raise InvalidArgument(f"{where}.image_sub_path: must lie below the image's root")
    if mount.image and mount.propagation != "private":
        raise InvalidArgument(f"{where}.propagation: an image volume is private")


def _check_mappings(mount: MountOption, where: str) -> None:
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise InvalidArgument(f"{where}: uid_mappings and gid_mappings go together")


def resolve_sources(mounts: Sequence[MountOption]) -> list[MountOption]:
    """Symbolic links followed, missing host directories made, as kubelet and users expect."""
    return [_resolve_source(mount, f"mounts[{index}]") for index, mount in enumerate(mounts)]


def _resolve_source(mount: MountOption, where: str) -> MountOption:
    if mount.tmpfs is not None:
        return mount
    path = os.path.realpath(mount.host_path)
    try:
        if not os.path.exists(path):
            os.makedirs(path, mode=0o755, exist_ok=True)
    except OSError as error:
        raise FailedPrecondition(f"{where}.host_path: cannot make {path}: {error.strerror}") from error
    return msgspec.structs.replace(mount, host_path=path)


class Surroundings(NamedTuple):
    """What a user namespace around all containers leaves out.

    `has_tty_group`: there is a group 5 for terminals to belong to; `owns_ipc`: the IPC namespace is
    not the host's, or the host's root asks.
    """

    has_tty_group: bool = True
    owns_ipc: bool = True


def plan_mounts(
    wanted: Sequence[MountOption],
    files: PodFiles,
    *,
    privileged: bool,
    own_hosts: bool = False,
    around: Surroundings = Surroundings(),  # noqa: B008 - immutable
) -> list[Mount]:
    """All mounts in order; a destination that the caller mounts loses its default, and /etc/hosts with `own_hosts`."""
    custom = {clean_path(mount.container_path) for mount in wanted}
    custom |= {"/etc/hosts"} if own_hosts else set()
    defaults = [*_system_mounts(around, privileged=privileged), *_pod_mounts(files)]
    kept = [mount for mount in defaults if mount.destination not in custom]
    mine = sorted(wanted, key=lambda mount: clean_path(mount.container_path).count("/"))
    return kept + [_bind(mount) if mount.tmpfs is None else _tmpfs(mount, mount.tmpfs) for mount in mine]


def _system_mounts(around: Surroundings, *, privileged: bool) -> list[Mount]:
    access = "rw" if privileged else "ro"
    tty_group = ["gid=5"] if around.has_tty_group else []
    return [
        Mount(destination="/proc", type="proc", source="proc", options=_GUARDED),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty_group],
        ),
        _plan_queues(around),
        Mount(destination="/sys", type="sysfs", source="sysfs", options=[*_GUARDED, access]),
        Mount(
            destination="/sys/fs/cgroup",
            type="cgroup",
            source="cgroup",
            options=[*_GUARDED, "relatime", access],
        ),
    ]


def _plan_queues(around: Surroundings) -> Mount:
    """mq_overview(7): of the IPC namespace, whose owner alone may mount it."""
    if around.owns_ipc:
        return Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_GUARDED)
    return Mount(
        destination="/dev/mqueue", type="bind", source="/dev/mqueue", options=["rbind", "rprivate", *_GUARDED]
    )


def _pod_mounts(files: PodFiles) -> list[Mount]:
    shared = (
        ("/dev/shm", files.shm, ["rbind", "rprivate", "nosuid", "noexec", "nodev"]),  # noqa: S108
        ("/etc/hosts", files.hosts, ["rbind", "rprivate"]),
        ("/etc/hostname", files.hostname, ["rbind", "rprivate"]),
        ("/etc/resolv.conf", files.resolv_conf, ["rbind", "rprivate"]),
    )
    return [
        Mount(destination=destination, type="bind", source=source, options=options)
        for destination, source, options in shared
    ]


def _bind(mount: MountOption) -> Mount:
    access = "rw"
    if mount.readonly:
        access = "rro" if mount.recursive_readonly else "ro"
    return Mount(
        destination=clean_path(mount.container_path),
        type="bind",
        source=mount.host_path,
        options=["rbind", _PROPAGATION[mount.propagation], access, *mount.options],
        uid_mappings=spec_mappings(mount.uid_mappings),
        gid_mappings=spec_mappings(mount.gid_mappings),
    )


def _tmpfs(mount: MountOption, options: Sequence[str]) -> Mount:
    access = ["ro"] if mount.readonly else []
    return Mount(
        destination=clean_path(mount.container_path),
        type="tmpfs",
        source="tmpfs",
        options=["nosuid", "nodev", *access, *mount.options, *options],
    )


def spec_mappings(mappings: Sequence[IdMapping]) -> list[SpecMapping] | None:
    """None for none: the specification leaves the field out then."""
    return [SpecMapping(item.container_id, item.host_id, item.length) for item in mappings] or None


def root_propagation(mounts: Sequence[MountOption]) -> str:
    """The rootfs must itself be a slave or shared for any mount in it to be so (mount_namespaces(7))."""
    wanted = {mount.propagation for mount in mounts}
    if "bidirectional" in wanted:
        return "rshared"
    return "rslave" if "host-to-container" in wanted else ""
