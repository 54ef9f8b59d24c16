"""Making a container from a checkpoint, when its image is one.

    image: an absolute path          the file that `engine.checkpointfile` describes
    image: an image that carries     its files, packed as one layer; CRI-O and buildah make such images
      the annotation of a checkpoint

    <root>/checkpoints/<container id>-restore/    the unpacked files, until the container is started

What is restored is the memory and the files of the container's root.  Image, command and environment
are those of the checkpoint; pod, mounts, limits and security options are the caller's, as ever.  A process
comes back with the privileges that it had, so whoever can name a checkpoint can have any: it is done
only where the configuration says so.
"""

import os
import shutil
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.engine import checkpointfile as layout
from rundlet.engine.external import mount_rootfs, runtime_command, unmount_rootfs
from rundlet.engine.handlers import Handler
from rundlet.engine.options import ContainerOptions
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import remove_directory
from rundlet.engine.process import read_config
from rundlet.engine.records import ContainerFacts, ContainerRecord, PodRecord
from rundlet.engine.undo import Undo, attempt
from rundlet.engine.userns import choose_mappings
from rundlet.errors import InvalidArgument, NotFound, Unimplemented
from rundlet.kernel.failure import translating
from rundlet.plan.external import OciPlan
from rundlet.spec.digest import parse_digest
from rundlet.spec.manifest import Manifest, parse_manifest
from rundlet.spec.runtime import RuntimeConfig
from rundlet.store.images import ImageRecord
from rundlet.store.snapshots import Snapshot

_ANNOTATIONS = ("org.criu.checkpoint.container.name", "io.kubernetes.cri-o.annotations.checkpoint.name")


class Checkpoint(NamedTuple):
    """An unpacked checkpoint; `image` is what its container was made from."""

    directory: str
    image: str
    spec: RuntimeConfig


def restore_path(root: str, container_id: str) -> str:
    return f"{root}/checkpoints/{container_id}-restore"


def open_checkpoint(parts: Parts, record: ContainerRecord, undo: Undo) -> Checkpoint | None:
    """The checkpoint that the options name as image, unpacked; None for an ordinary image."""
    text = record.options.image
    if parts.settings.checkpoints != "checkpoint_restore":
        if text.startswith("/"):
            raise Unimplemented(
                "image: containers are not made from checkpoints here",
                hint='checkpoints = "checkpoint_restore" in rundlet.toml allows it',
            )
        return None
    source = "" if text.startswith("/") else _find_layer(parts, text)
    if not source and not text.startswith("/"):
        return None
    directory = restore_path(parts.settings.root, record.id)
    undo.add(f"remove {directory}", remove_directory, directory)
    with translating(f"make {directory}"):
        os.makedirs(directory, mode=0o700)
    if source:
        _copy(source, directory, text)
    else:
        layout.unpack(text, directory)
    dump = layout.read_dump(directory)
    return Checkpoint(directory, _choose_image(parts, dump), layout.read_spec(directory))


def check_pod(pod: PodRecord) -> None:
    """Raises InvalidArgument for a pod that no container from a checkpoint can go into."""
    if choose_mappings(pod.options):
        raise InvalidArgument("image: a pod with a user namespace takes no container from a checkpoint")


def _find_layer(parts: Parts, text: str) -> str:
    """Where the files of a checkpoint image lie; empty for any other image."""
    image = parts.find_image(text)
    if image is None or len(image.layers) != 1 or not _is_checkpoint(parts, image):
        return ""
    return parts.store.layers.path(image.layers[0])


def _is_checkpoint(parts: Parts, image: ImageRecord) -> bool:
    raw = parts.store.blobs.read(parse_digest(image.manifest_digest))
    manifest = parse_manifest(raw)
    return isinstance(manifest, Manifest) and any(
        name in (manifest.annotations or {}) for name in _ANNOTATIONS
    )


def _copy(source: str, directory: str, text: str) -> None:
    """criu writes beside its images, and a layer stays as it is."""
    with translating(f"copy the checkpoint of image {text}"):
        shutil.copytree(source, directory, symlinks=True, dirs_exist_ok=True)
    layout.check_complete(directory, f"image {text}")


def _choose_image(parts: Parts, dump: layout.Dump) -> str:
    for name in (dump.rootfs_image_ref, dump.rootfs_image, dump.rootfs_image_name):
        if name and _is_here(parts, name):
            return name
    raise NotFound(
        f"image {dump.rootfs_image_name!r} of the checkpoint is not on this node", hint="pull it first"
    )


def _is_here(parts: Parts, name: str) -> bool:
    try:
        return parts.find_image(name) is not None
    except InvalidArgument:
        return False  # another engine's way to write an image


def adapt_options(options: ContainerOptions, checkpoint: Checkpoint) -> ContainerOptions:
    """What the processes were started with, which is what they still have."""
    process = checkpoint.spec.process
    if process is None or not process.args:
        raise InvalidArgument("the checkpoint says of no process what it was started with")
    pairs = (item.partition("=") for item in process.env or [])
    return replace(
        options,
        image=checkpoint.image,
        command=tuple(process.args),
        args=(),
        env=tuple((key, value) for key, _, value in pairs),
        working_dir=process.cwd,
        tty=process.terminal,
    )


def check_mounts(checkpoint: Checkpoint, config: RuntimeConfig) -> None:
    """Raises InvalidArgument for a host's directory that the checkpoint had and the options lack."""
    missing = sorted(_list_binds(checkpoint.spec) - _list_binds(config))
    if missing:
        raise InvalidArgument(f"mounts: the checkpoint needs a mount at {missing[0]}")


def _list_binds(config: RuntimeConfig) -> set[str]:
    return {os.path.normpath(mount.destination) for mount in config.mounts or [] if mount.type == "bind"}


def apply_files(checkpoint: Checkpoint, snapshot: Snapshot) -> None:
    """What the container had written and removed, in a new snapshot of its image."""
    layout.apply_diff(checkpoint.directory, snapshot.upper, snapshot.lower)


def prepare_restore(
    checkpoint: Checkpoint, snapshot: Snapshot, bundle: str, log_path: str, label: str, undo: Undo
) -> None:
    """The snapshot mounted where the runtime looks for it, and the log as the beginning of the new one."""
    undo.add(f"unmount the root file system of {snapshot.key}", unmount_rootfs, bundle)
    mount_rootfs(bundle, snapshot, label)
    log = f"{checkpoint.directory}/{layout.LOG}"
    if log_path and os.path.isfile(log) and not os.path.exists(log_path):
        with translating(f"write {log_path}"):
            shutil.copyfile(log, log_path)
            os.chmod(log_path, 0o600)


def restore_processes(parts: Parts, record: ContainerRecord) -> ContainerFacts:
    """Have the processes brought back; the record's facts with the first one's pid."""
    handler = parts.handlers.find(record.facts.runtime_handler)
    options = record.options
    pid = parts.keeper.create_external(
        plan_restore(parts, handler, record, f"{parts.settings.containers_dir}/{record.id}"),
        log_path=record.facts.log_path,
        stdin=options.stdin,
        stdin_once=options.stdin_once,
    )
    return note_restored(record.facts, pid)


def note_restored(facts: ContainerFacts, pid: int) -> ContainerFacts:
    """Its facts from now on; the unpacked files have done their work."""
    attempt(f"remove {facts.restore}", remove_directory, facts.restore)
    return replace(facts, pid=pid, restore="")


def plan_restore(parts: Parts, handler: Handler, record: ContainerRecord, bundle: str) -> OciPlan:
    """What the keeper needs for that; the processes run at once."""
    program, *args = runtime_command(parts, handler, record.facts.cgroups_path)
    process = read_config(bundle).process
    return OciPlan(
        container_id=record.id,
        program=program,
        args=tuple(args),
        bundle=bundle,
        cgroup=record.facts.cgroups_path,
        terminal=bool(process and process.terminal),
        timeout_s=handler.timeout_s,
        images=f"{record.facts.restore}/{layout.IMAGES}",
    )
