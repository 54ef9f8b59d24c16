"""A pod's volumes → volumes of this machine, paths of the host, and where its containers see them.

emptyDir                a volume <pod>-<name>, in memory where the medium is; goes with the pod
configMap, secret       a volume <pod>-<name> with the files; goes with the pod
persistentVolumeClaim   the volume of the claim's name; stays
hostPath                the path
"""

import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.errors import InvalidArgument, NotFound
from rundlet.kube.environment import Sources, expand
from rundlet.kube.model import Container, HostPath, KeyToPath, Mount, Volume
from rundlet.kube.quantity import parse_bytes
from rundlet.local.options import VolumeMount

_PROPAGATION = {"None": "private", "HostToContainer": "host-to-container", "Bidirectional": "bidirectional"}


class PlannedFile(NamedTuple):
    content: bytes
    mode: int


class PlannedVolume(NamedTuple):
    """`local` is a volume of this machine, else it is `host`.

    `files` are its whole contents (None: it keeps what it has), by path.  `stays` when the pod goes.
    """

    local: str = ""
    host: HostPath | None = None
    options: Mapping[str, str] = {}
    files: Mapping[str, PlannedFile] | None = None
    readonly: bool = False
    stays: bool = False


def own_volume(volume: Volume, pod: str) -> str:
    """The volume of this machine that goes with the pod, "" for one that does not."""
    return "" if volume.host_path or volume.persistent_volume_claim else f"{pod}-{volume.name}"


def plan_volume(volume: Volume, pod: str, sources: Sources, what: str) -> PlannedVolume:
    """Raises NotFound for a ConfigMap or Secret that is not there, InvalidArgument for no kind."""
    own = own_volume(volume, pod)
    if volume.host_path:
        if not volume.host_path.path.startswith("/"):
            raise InvalidArgument(f"{what}.hostPath.path: {volume.host_path.path!r} is not absolute")
        return PlannedVolume(host=volume.host_path)
    if volume.empty_dir:
        return PlannedVolume(own, options=_plan_medium(volume, what))
    if volume.config_map:
        maps = volume.config_map
        files = _plan_files(
            maps.name, maps.items, maps.default_mode, sources.config_maps, maps.optional, f"{what}.configMap"
        )
        return PlannedVolume(own, files=files, readonly=True)
    if volume.secret:
        kept = volume.secret
        files = _plan_files(
            kept.secret_name, kept.items, kept.default_mode, sources.secrets, kept.optional, f"{what}.secret"
        )
        return PlannedVolume(own, files=files, readonly=True)
    if volume.persistent_volume_claim:
        claim = volume.persistent_volume_claim
        return PlannedVolume(claim.claim_name, readonly=claim.read_only, stays=True)
    raise InvalidArgument(
        f"{what}: volume {volume.name} is of no kind that is known here",
        hint="hostPath, emptyDir, configMap, secret and persistentVolumeClaim are",
    )


def _plan_medium(volume: Volume, what: str) -> dict[str, str]:
    empty = volume.empty_dir
    if empty is None or empty.medium != "Memory":
        return {}
    size = parse_bytes(empty.size_limit, f"{what}.emptyDir.sizeLimit") if empty.size_limit else 0
    limit = f",size={size}" if size else ""
    return {"type": "tmpfs", "device": "tmpfs", "o": f"nosuid,nodev,mode=1777{limit}"}


def _plan_files(
    name: str,
    items: tuple[KeyToPath, ...],
    mode: int,
    known: Mapping[str, Mapping[str, bytes]],
    optional: bool,
    what: str,
) -> dict[str, PlannedFile]:
    values = known.get(name)
    if values is None and not optional:
        raise NotFound(f"{what}: there is no {what.rpartition('.')[2]} {name}", hint="put it into the file")
    values = values or {}
    if not items:
        return {key: PlannedFile(value, mode) for key, value in values.items()}
    files = {}
    for number, item in enumerate(items):
        where = f"{what}.items[{number}]"
        if item.key in values:
            files[check_inside(item.path, f"{where}.path")] = PlannedFile(values[item.key], item.mode or mode)
        elif not optional:
            raise NotFound(f"{where}: {name} has no key {item.key}")
    return files


def plan_mounts(
    container: Container, volumes: Mapping[str, PlannedVolume], env: Mapping[str, str], what: str
) -> tuple[VolumeMount, ...]:
    """Raises InvalidArgument for a volume that the pod does not have."""
    return tuple(
        _plan_mount(mount, volumes, env, f"{what}.volumeMounts[{number}]")
        for number, mount in enumerate(container.volume_mounts)
    )


def _plan_mount(
    mount: Mount, volumes: Mapping[str, PlannedVolume], env: Mapping[str, str], what: str
) -> VolumeMount:
    volume = volumes.get(mount.name)
    if volume is None:
        raise InvalidArgument(f"{what}.name: the pod has no volume {mount.name}")
    sub_path = check_inside(mount.sub_path or expand(mount.sub_path_expr, env), f"{what}.subPath")
    common = VolumeMount(
        "volume",
        posixpath.join("/", mount.mount_path),
        readonly=mount.read_only or volume.readonly,
        recursive_readonly=mount.recursive_read_only == "Enabled",
        propagation=_PROPAGATION[mount.mount_propagation],  # type: ignore[arg-type]  # one of three
        copy_up=False,
    )
    return _place(common, volume, sub_path)


def _place(mount: VolumeMount, volume: PlannedVolume, sub_path: str) -> VolumeMount:
    if volume.host:
        path = posixpath.join(volume.host.path, sub_path) if sub_path else volume.host.path
        return replace(mount, kind="bind", source=path)
    return replace(mount, source=volume.local, sub_path=sub_path)


def check_inside(path: str, what: str) -> str:
    """A path below something.  Raises InvalidArgument for one that leads out."""
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidArgument(f"{what}: {path!r} must lie below the volume")
    return path
