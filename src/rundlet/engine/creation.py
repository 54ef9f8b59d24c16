"""Making one container: look everything up, plan, then act with undo.

    <run_root>/containers/<id>/config.json   what the container was made from (mode 0600)
                               rootfs/       where its own mount namespace has the overlay

Both go when the container is removed; what it has written lies in its snapshot.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.engine import capabilities
from rundlet.engine.apparmor import choose_profile
from rundlet.engine.cdi import apply_edits, find_edits
from rundlet.engine.config import ContainerView, PodView, build_config, pid_mode
from rundlet.engine.devices import find_devices
from rundlet.engine.external import (
    adapt_config,
    check_features,
    mount_rootfs,
    plan_external,
    unmount_rootfs,
)
from rundlet.engine.handlers import Handler
from rundlet.engine.imagevolumes import make_image_volumes
from rundlet.engine.mounts import resolve_sources
from rundlet.engine.options import ContainerOptions, Mount
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import locate_files, remove_directory
from rundlet.engine.process import choose_seccomp, plan_create, write_config
from rundlet.engine.records import ContainerFacts, ContainerRecord, PodRecord, require_state
from rundlet.engine.restore import (
    adapt_options,
    apply_files,
    check_mounts,
    check_pod,
    open_checkpoint,
    prepare_restore,
)
from rundlet.engine.rootfs import read_file
from rundlet.engine.selinux import Labels, check_label, choose_labels, relabel
from rundlet.engine.signals import format_signal, parse_signal
from rundlet.engine.status import UserStatus
from rundlet.engine.undo import Undo
from rundlet.engine.userns import Owners, choose_owners
from rundlet.engine.users import Identity, add_user, needs_files, resolve_identity
from rundlet.engine.volumes import Looks, Volumes, mount_volumes
from rundlet.errors import InvalidArgument, NotFound
from rundlet.keeper.protocol import UNLIMITED, LogLimit
from rundlet.kernel.failure import translating
from rundlet.plan.planner import Overlay
from rundlet.spec.runtime import RuntimeConfig
from rundlet.step import step
from rundlet.store.images import ImageRecord
from rundlet.store.snapshots import Snapshot

_LOG_FILES = 2  # the one being written, and the one before it


class _Made(NamedTuple):
    image: ImageRecord
    snapshot: Snapshot
    bundle: str
    owners: Owners = Owners()


def bundle_path(parts: Parts, container_id: str) -> str:
    return f"{parts.settings.containers_dir}/{container_id}"


def build_container(parts: Parts, pod: PodRecord, record: ContainerRecord, undo: Undo) -> ContainerFacts:
    """Make the container of a reserved record; its first process waits behind the gate."""
    checkpoint = open_checkpoint(parts, record, undo)
    if checkpoint is not None:
        check_pod(pod)
        record = replace(record, options=adapt_options(record.options, checkpoint))
    options = record.options
    image = _find_image(parts, options.image)
    made = _Made(
        image, _prepare_snapshot(parts, record.id, image, undo), _make_bundle(parts, record.id, undo)
    )
    made = made._replace(owners=choose_owners(parts, pod.options, made.snapshot))
    if checkpoint is not None:
        apply_files(checkpoint, made.snapshot)
    labels = _choose_labels(parts, pod, options)
    looks = Looks(labels.mount, made.owners.shift)
    volumes = mount_volumes(parts, record.id, made.bundle, options.mounts, looks, undo)
    volumes = _add_image_volumes(parts, made, volumes, undo)
    mounts = resolve_sources(volumes.mounts)
    _relabel_mounts(mounts, labels.mount)
    looked = look_up(parts, pod, record, image, made.snapshot.lower, mounts, labels)
    looked = _name_user(options, looked, made, labels.mount)
    view = _view_pod(parts, pod)
    config = build_config(view, looked, options, image.config.config, parts.host)
    config = apply_edits(config, find_edits(options.cdi_devices, parts.settings.cdi_dirs))
    handler = parts.handlers.find(pod.facts.runtime_handler)
    check_features(parts, handler, config)
    config = adapt_config(config, handler, record.id, made.bundle, pod.facts.hostname)
    with step("container.config", record.id):
        write_config(made.bundle, config)
    log_path = _make_log_directory(pod, options)
    if checkpoint is not None:
        check_mounts(checkpoint, config)
        prepare_restore(checkpoint, made.snapshot, made.bundle, log_path, labels.mount, undo)
        pid = 0
    elif handler.type == "builtin":
        pid = _create(parts, record, config, made, log_path, undo)
    else:
        pid = _create_external(parts, handler, record, config, made, log_path, undo)
    return ContainerFacts(
        image_id=image.id,
        image_ref=image.digests[0] if image.digests else image.id,
        log_path=log_path,
        stop_signal=_choose_stop_signal(options, image),
        cgroups_path=looked.cgroups_path,
        boot_id=parts.boot_id,
        pid=pid,
        runtime_handler=handler.name,
        runtime_type=handler.type if checkpoint is None else "oci",
        lives=record.facts.lives,
        own_sandbox=handler.own_sandbox,
        volumes=volumes.images,
        user=UserStatus(looked.identity.uid, looked.identity.gid, looked.identity.groups),
        restore=checkpoint.directory if checkpoint else "",
    )


def _add_image_volumes(parts: Parts, made: _Made, volumes: Volumes, undo: Undo) -> Volumes:
    declared = made.image.config.config.volumes
    binds = make_image_volumes(parts, made.snapshot, made.bundle, declared, volumes.mounts, made.owners, undo)
    return volumes._replace(mounts=(*volumes.mounts, *binds))


def _create(
    parts: Parts, record: ContainerRecord, config: RuntimeConfig, made: _Made, log_path: str, undo: Undo
) -> int:
    if made.owners.stack:
        overlay = None
        _mount_rootfs(record.id, made, config, undo)
    else:
        overlay = Overlay(made.snapshot.lower, made.snapshot.upper, made.snapshot.work)
    plan = plan_create(parts, record.id, config, made.bundle, overlay)
    options = record.options
    undo.add(f"delete container {record.id}", parts.keeper.delete, record.id)
    with step("container.process", record.id):
        return parts.keeper.create(
            plan,
            log_path=log_path,
            log_limit=_limit_log(options),
            stdin=options.stdin,
            stdin_once=options.stdin_once,
        )


def _limit_log(options: ContainerOptions) -> LogLimit:
    return LogLimit(options.log_limit_bytes, _LOG_FILES) if options.log_limit_bytes else UNLIMITED


def _create_external(
    parts: Parts,
    handler: Handler,
    record: ContainerRecord,
    config: RuntimeConfig,
    made: _Made,
    log_path: str,
    undo: Undo,
) -> int:
    _mount_rootfs(record.id, made, config, undo)
    plan = plan_external(parts, handler, record.id, config, made.bundle)
    options = record.options
    undo.add(f"delete container {record.id}", parts.keeper.delete, record.id)
    with step("container.process", record.id):
        return parts.keeper.create_external(
            plan,
            log_path=log_path,
            log_limit=_limit_log(options),
            stdin=options.stdin,
            stdin_once=options.stdin_once,
        )


def _mount_rootfs(container_id: str, made: _Made, config: RuntimeConfig, undo: Undo) -> None:
    """On the host's side, where whoever makes the container finds it."""
    undo.add(f"unmount the root file system of {container_id}", unmount_rootfs, made.bundle)
    label = config.linux.mount_label if config.linux else ""
    with step("container.mount", container_id):
        mount_rootfs(made.bundle, made.snapshot, label, made.owners.stack)


def _find_image(parts: Parts, text: str) -> ImageRecord:
    image = parts.find_image(text)
    if image is None:
        raise NotFound(f"image {text!r} is not on this node", hint="pull it first")
    return image


def _prepare_snapshot(parts: Parts, container_id: str, image: ImageRecord, undo: Undo) -> Snapshot:
    """A new one, but for a container that has lived before: that goes on with its files."""
    kept = parts.store.snapshots.find(container_id)
    if kept is not None:
        return kept
    undo.add(f"remove snapshot {container_id}", parts.store.snapshots.remove, container_id)
    with step("container.snapshot", container_id):
        return parts.store.snapshots.prepare(container_id, image.id)


def _make_bundle(parts: Parts, container_id: str, undo: Undo) -> str:
    bundle = bundle_path(parts, container_id)
    undo.add(f"remove {bundle}", remove_directory, bundle)
    with translating(f"make {bundle}"), step("container.bundle", container_id):
        os.makedirs(f"{bundle}/rootfs", mode=0o711)
    return bundle


def _view_pod(parts: Parts, pod: PodRecord) -> PodView:
    files = locate_files(f"{parts.settings.pods_dir}/{pod.id}", pod.options)
    return PodView(pod.id, pod.options, pod.facts.hostname, pod.facts.namespaces, files)


def look_up(
    parts: Parts,
    pod: PodRecord,
    record: ContainerRecord,
    image: ImageRecord,
    layers: Sequence[str],
    mounts: list[Mount],
    labels: Labels = Labels(),  # noqa: B008 - immutable
) -> ContainerView:
    """What the plan of a container needs to know; `layers` top first, `mounts` with their host paths resolved.

    Looks only.  Raises InvalidArgument for what the image does not have.
    """
    options = record.options
    privileged = options.security.privileged
    sets = capabilities.choose(options.security.capabilities, privileged=privileged)
    return ContainerView(
        id=record.id,
        cgroups_path=parts.child_of(pod.facts.cgroup_parent, record.id),
        image_name=options.user_image or options.image,
        identity=_look_up_identity(options, image, layers),
        mounts=mounts,
        devices=find_devices(options.devices, privileged=privileged),
        seccomp=choose_seccomp(options, sets),
        target_pid_namespace=_look_up_target(parts, pod, options),
        labels=labels,
        apparmor_profile=choose_profile(options.security, enabled=parts.host.apparmor),
    )


def _choose_labels(parts: Parts, pod: PodRecord, options: ContainerOptions) -> Labels:
    defaults = parts.host.selinux
    if defaults is None:
        return Labels()
    security = options.security
    labels = choose_labels(
        security.selinux, pod.facts.selinux_label, defaults, privileged=security.privileged
    )
    check_label(labels.process, "security.selinux")
    return labels


def _relabel_mounts(mounts: Sequence[Mount], label: str) -> None:
    """What the caller wants relabelled is readable to this pod, and to no other, from now on."""
    for index, mount in enumerate(mounts):
        if label and mount.selinux_relabel:
            relabel(mount.host_path, label, f"mounts[{index}]")


def _look_up_identity(options: ContainerOptions, image: ImageRecord, layers: Sequence[str]) -> Identity:
    user = image.config.config.user
    files = [b"", b""]
    if needs_files(options.security, user):
        files = [read_file(layers, path) for path in ("/etc/passwd", "/etc/group")]
    return resolve_identity(options.security, user, files[0], files[1])


def _name_user(options: ContainerOptions, looked: ContainerView, made: _Made, label: str) -> ContainerView:
    """With an /etc/passwd over the image's where that does not know who the container runs as."""
    if not options.name_user or looked.identity.uid == 0:
        return looked
    passwd = add_user(read_file((made.snapshot.upper, *made.snapshot.lower), "/etc/passwd"), looked.identity)
    if not passwd or any(mount.container_path == "/etc/passwd" for mount in looked.mounts):
        return looked
    path = f"{made.bundle}/passwd"
    with translating(f"write {path}"), open(path, "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(passwd)
    if label:
        relabel(path, label, "/etc/passwd")
    return looked._replace(mounts=[*looked.mounts, Mount("/etc/passwd", host_path=path)])


def _look_up_target(parts: Parts, pod: PodRecord, options: ContainerOptions) -> str:
    """The PID namespace of the container that this one looks into (kubectl debug)."""
    if pid_mode(pod.options, options) != "target":
        return ""
    target = parts.containers.get(parts.containers.resolve(options.security.namespaces.target_id))
    if target.pod_id != pod.id:
        raise InvalidArgument(f"security.namespaces.target_id: container {target.id} is in another pod")
    require_state(target, "running", action="join the processes of")
    return f"/proc/{target.facts.pid}/ns/pid"


def _choose_stop_signal(options: ContainerOptions, image: ImageRecord) -> str:
    return format_signal(parse_signal(options.stop_signal or image.config.config.stop_signal or "SIGTERM"))


def _make_log_directory(pod: PodRecord, options: ContainerOptions) -> str:
    """The absolute log path, its directories made; "" when no log is asked for."""
    if not pod.options.log_directory or not options.log_path:
        return ""
    path = os.path.join(pod.options.log_directory, options.log_path)
    with translating(f"make the log directory of {path}"), step("container.log-directory"):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    return path
