"""Taking a checkpoint of a running container, by criu (CheckpointContainer).

    <root>/checkpoints/<container id>/    what goes into the file, until it is there

All of it is frozen meanwhile, so that the files belong to the memory; it runs on afterwards.  The
dump is done by the container's own runtime program.  A container of the built-in runtime has
none, so it is made known to rundlet-runtime for the time of the dump.
"""

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from rundlet.engine import checkpointfile as layout
from rundlet.engine.creation import bundle_path
from rundlet.engine.external import runtime_command
from rundlet.engine.parts import Parts
from rundlet.engine.podfiles import remove_directory
from rundlet.engine.process import read_config
from rundlet.engine.records import ContainerRecord, PodRecord
from rundlet.engine.undo import attempt
from rundlet.engine.userns import choose_mappings
from rundlet.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
)
from rundlet.keeper.external_job import read_complaint
from rundlet.keeper.identity import read_start_time
from rundlet.kernel.failure import translating
from rundlet.oci import containers
from rundlet.oci.entry import own_command
from rundlet.spec.json import encode, encode_pretty
from rundlet.spec.runtime import RuntimeConfig

_TIMEOUT_S = 120.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def take_checkpoint(
    parts: Parts, pod: PodRecord, record: ContainerRecord, location: str, timeout_s: float
) -> None:
    """Write the checkpoint of a running container to the file `location`; 0 is the default time.

    Raises Unimplemented where there is no criu, AlreadyExists for a file that is there,
    DeadlineExceeded, and FailedPrecondition with what criu said; nothing is left then.
    """
    _check_ability(parts, pod, record)
    _check_location(location)
    directory = f"{parts.settings.root}/checkpoints/{record.id}"
    with translating(f"make {directory}"):
        os.makedirs(f"{directory}/{layout.IMAGES}", mode=0o700)
    try:
        with _frozen(parts, record):
            _dump(parts, record, directory, timeout_s or _TIMEOUT_S)
            _add_files(parts, record, directory)
        _describe(parts, pod, record, directory)
        layout.pack(directory, location)
    finally:
        attempt(f"remove {directory}", remove_directory, directory)


def find_criu() -> str:
    """The program's path; empty when it is not there."""
    return shutil.which("criu", path=_PATH) or ""


def _check_ability(parts: Parts, pod: PodRecord, record: ContainerRecord) -> None:
    if parts.settings.checkpoints == "none":
        raise Unimplemented("checkpoints are switched off", hint="see `checkpoints` in rundlet.toml")
    if record.facts.runtime_type == "bwrap" or record.facts.own_sandbox:
        raise Unimplemented(f"runtime handler {record.facts.runtime_handler!r} cannot make checkpoints")
    if choose_mappings(pod.options):
        raise Unimplemented("no checkpoints are made of pods with a user namespace")
    if not find_criu():
        raise Unimplemented("checkpoints are made by criu, which is not on this host", hint="install criu")


def _check_location(location: str) -> None:
    if not location.startswith("/"):
        raise InvalidArgument(f"location: must be an absolute path, got {location!r}")
    if not os.path.isdir(os.path.dirname(location)):
        raise NotFound(f"location: there is no directory {os.path.dirname(location)}")
    if os.path.lexists(location):
        raise AlreadyExists(f"location: {location} exists already")


@contextmanager
def _frozen(parts: Parts, record: ContainerRecord) -> Iterator[None]:
    """On version 1 without a freezer it runs on; criu stops it for the dump alone."""
    group = parts.group(record.facts.cgroups_path)
    try:
        group.freeze()
    except NotFound:
        yield
        return
    try:
        yield
    finally:
        group.thaw()


# -- dump ----------------------------------------------------------------------------


def _dump(parts: Parts, record: ContainerRecord, directory: str, timeout_s: float) -> None:
    log = f"{directory}/runtime.log"
    with _known_to_runtime(parts, record, directory) as command:
        verb = ["checkpoint", "--leave-running", "--image-path", f"{directory}/{layout.IMAGES}"]
        verb += ["--work-path", directory, record.id]
        code = _run([*command, "--log", log, "--log-format", "json", *verb], timeout_s)
    said = read_complaint(log)
    if code:
        raise FailedPrecondition(f"cannot make the checkpoint: {said.partition(' (hint: ')[0]}")


@contextmanager
def _known_to_runtime(parts: Parts, record: ContainerRecord, directory: str) -> Iterator[Sequence[str]]:
    """The command line of a runtime that knows the container."""
    if record.facts.runtime_type == "oci":
        handler = parts.handlers.find(record.facts.runtime_handler)
        yield runtime_command(parts, handler, record.facts.cgroups_path)
        return
    root = f"{directory}.known"
    try:
        _make_known(parts, record, root)
        yield [*own_command(), "--root", root]
    finally:
        attempt(f"remove {root}", remove_directory, root)


def _make_known(parts: Parts, record: ContainerRecord, root: str) -> None:
    bundle = bundle_path(parts, record.id)
    known = containers.Record(
        id=record.id,
        bundle=bundle,
        rootfs=f"{bundle}/rootfs",
        oci_version=read_config(bundle).oci_version,
        annotations={},
        created_at_ns=record.created_at_ns,
        owner_uid=0,
        cgroup=record.facts.cgroups_path,
    )
    pid = record.facts.pid
    container, lock = containers.reserve(root, known, encode(read_config(bundle)))
    container.save(known._replace(pid=pid, start_time=read_start_time(pid)))
    os.close(lock)


def _run(command: Sequence[str], timeout_s: float) -> int:
    """Its exit code.  It leads a process group: criu goes with it when the time is over."""
    null = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=null, stdout=null, stderr=null, start_new_session=True, env={"PATH": _PATH}
    ) as process:
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise DeadlineExceeded(f"the checkpoint was not done within {timeout_s:g} s") from error


# -- what stands beside the dump -----------------------------------------------------------


def _add_files(parts: Parts, record: ContainerRecord, directory: str) -> None:
    """The changed files and the log, as they are while it is frozen."""
    snapshot = parts.store.snapshots.find(record.id)
    if snapshot is None:
        raise NotFound(f"container {record.id} has lost its snapshot")
    deleted = layout.write_diff(snapshot.upper, directory)
    if deleted:
        _write(directory, layout.DELETED, encode(deleted))
    if record.facts.log_path and os.path.exists(record.facts.log_path):
        with translating(f"copy {record.facts.log_path}"):
            shutil.copyfile(record.facts.log_path, f"{directory}/{layout.LOG}")


def _describe(parts: Parts, pod: PodRecord, record: ContainerRecord, directory: str) -> None:
    config = read_config(bundle_path(parts, record.id))
    dump = layout.Dump(
        id=record.id,
        name=record.options.name,
        rootfs_image=record.facts.image_ref,
        rootfs_image_ref=record.facts.image_id,
        rootfs_image_name=record.options.user_image or record.options.image,
        runtime=record.facts.runtime_handler,
        created_time=_format_time(record.created_at_ns),
        checkpointed_time=_format_time(time.time_ns()),
    )
    _write(directory, layout.CONFIG, encode_pretty(dump))
    annotations = {**(config.annotations or {}), **_annotate(pod, record)}
    _write(directory, layout.SPEC, encode_pretty(config.replace(annotations=annotations)))
    _write(directory, layout.MOUNTS, encode_pretty(list(_list_binds(config))))


def _annotate(pod: PodRecord, record: ContainerRecord) -> dict[str, str]:
    """The names under which CRI-O and checkpointctl look for what is not in a config.json."""
    options = record.options
    prefix = "io.kubernetes.cri-o"
    return {
        "io.container.manager": "cri-o",
        f"{prefix}.ContainerID": record.id,
        f"{prefix}.ContainerName": options.name,
        f"{prefix}.ImageName": options.user_image or options.image,
        f"{prefix}.ImageRef": record.facts.image_ref,
        f"{prefix}.SandboxID": pod.id,
        f"{prefix}.SandboxName": pod.options.name,
        f"{prefix}.LogPath": record.facts.log_path,
        f"{prefix}.Created": _format_time(record.created_at_ns),
        f"{prefix}.Metadata": encode({"name": options.name, "attempt": options.attempt}).decode(),
        f"{prefix}.Labels": encode(options.labels).decode(),
        f"{prefix}.Annotations": encode(options.annotations).decode(),
        "io.kubernetes.container.name": options.name,
        "io.kubernetes.pod.name": pod.options.name,
        "io.kubernetes.pod.namespace": pod.options.namespace,
        "io.kubernetes.pod.uid": pod.options.uid,
    }


def _list_binds(config: RuntimeConfig) -> Iterator[layout.BindMount]:
    for mount in config.mounts or []:
        if mount.type == "bind" and os.path.exists(mount.source):
            found = os.stat(mount.source)
            kind = "directory" if stat.S_ISDIR(found.st_mode) else "file"
            yield layout.BindMount(mount.source, mount.destination, kind, stat.S_IMODE(found.st_mode))


def _write(directory: str, name: str, data: bytes) -> None:
    with translating(f"write {name}"), open(f"{directory}/{name}", "xb") as file:
        file.write(data)


def _format_time(time_ns: int) -> str:
    whole, fraction = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
