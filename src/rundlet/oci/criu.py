"""criu(8), which carries out `checkpoint` and `restore`.

criu dumps the tree of the container's first process into --image-path; bind
mounts and the namespaces joined by path are named to it as external, so that
restore can put this host's own in their place.
"""

import os
import shutil
import subprocess
from typing import NamedTuple

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.spec.runtime import Linux, Mount, RuntimeConfig

_MODES = ("soft", "full", "strict", "ignore")
_SWITCHES = ("tcp-established", "tcp-skip-in-flight", "link-remap", "ext-unix-sk", "shell-job", "file-locks",
             "auto-dedup")  # fmt: skip


class Images(NamedTuple):
    """Directories of criu's files and of its logs."""

    path: str
    work: str


def find_criu(context: Context) -> str:
    """The program; NotFound says how to get it."""
    found = shutil.which(context.criu)
    if found is None:
        raise NotFound(
            f"{context.criu}: executable file not found in $PATH",
            hint="checkpoints are made by criu; install it",
        )
    return found


def dump_command(
    criu: str, container: containers.Container, config: RuntimeConfig, arguments: Arguments, images: Images
) -> list[str]:
    command = [criu, "pre-dump" if arguments.has("pre-dump") else "dump", "--tree", str(container.record.pid)]
    command += _common(config, arguments, images, container.record.rootfs)
    command += ["--log-file", "dump.log"]
    for mount in _bind_mounts(config):
        command += ["--external", f"mnt[{mount.destination}]:{mount.destination}"]
    if arguments.has("leave-running") and not arguments.has("pre-dump"):
        command.append("--leave-running")
    if arguments.text("parent-path"):
        command += ["--prev-images-dir", arguments.text("parent-path"), "--track-mem"]
    if arguments.has("pre-dump"):
        command.append("--track-mem")
    if arguments.has("lazy-pages"):
        command.append("--lazy-pages")
        if arguments.number("status-fd", -1) >= 0:
            command += ["--status-fd", str(arguments.number("status-fd"))]
    if arguments.text("page-server"):
        address, colon, port = arguments.text("page-server").rpartition(":")
        if not colon or not port.isdigit():
            raise InvalidArgument("flag --page-server: expected ADDRESS:PORT")
        command += ["--page-server", "--address", address, "--port", port]
    group = groups.group_of(container.record)
    if group is not None and "freezer" in group.directories():
        command += ["--freeze-cgroup", group.directory("freezer")]
    return command


def restore_command(
    criu: str, config: RuntimeConfig, rootfs: str, arguments: Arguments, images: Images
) -> list[str]:
    """Detached: criu leaves the container to us, and its pid in a file of the work directory."""
    command = [
        criu,
        "restore",
        "--restore-detached",
        "--restore-sibling",
        "--pidfile",
        f"{images.work}/restore.pid",
    ]
    command += _common(config, arguments, images, rootfs)
    command += ["--log-file", "restore.log"]
    for mount in _bind_mounts(config):
        command += ["--external", f"mnt[{mount.destination}]:{mount.source}"]
    if arguments.text("lsm-profile"):
        command += ["--lsm-profile", arguments.text("lsm-profile")]
    if arguments.text("lsm-mount-context"):
        command += ["--lsm-mount-context", arguments.text("lsm-mount-context")]
    if arguments.has("lazy-pages"):
        command.append("--lazy-pages")
    return command


def _bind_mounts(config: RuntimeConfig) -> list[Mount]:
    """What criu must take from this host instead of from the images."""
    bind = {"bind", "rbind"}
    return [item for item in config.mounts or [] if item.type == "bind" or bind & {*(item.options or [])}]


def _common(config: RuntimeConfig, arguments: Arguments, images: Images, rootfs: str) -> list[str]:
    mode = arguments.text("manage-cgroups-mode", "soft")
    if mode not in _MODES:
        raise InvalidArgument(
            f"flag --manage-cgroups-mode: expected one of {', '.join(_MODES)}, got {mode!r}"
        )
    command = [
        "--images-dir",
        images.path,
        "--work-dir",
        images.work,
        "--root",
        rootfs,
        f"--manage-cgroups={mode}",
    ]
    command += [f"--{name}" for name in _SWITCHES if arguments.has(name)]
    for kind in arguments.many("empty-ns"):
        if kind != "network":
            raise InvalidArgument(f"flag --empty-ns: only network can be left empty, got {kind!r}")
        command += ["--empty-ns", "net"]
    linux = config.linux or Linux()
    for item in linux.namespaces or []:
        if item.path and item.type in ("network", "pid"):
            inode = os.stat(item.path).st_ino
            name = "net" if item.type == "network" else "pid"
            command += ["--external", f"{name}[{inode}]:{item.type}"]
    return command


def make_images(arguments: Arguments) -> Images:
    path = os.path.abspath(arguments.text("image-path", "checkpoint"))
    work = os.path.abspath(arguments.text("work-path")) if arguments.text("work-path") else path
    for directory in (path, work):
        os.makedirs(directory, 0o700, exist_ok=True)
    return Images(path, work)


def run_criu(command: list[str], images: Images, log: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise FailedPrecondition(
            f"criu {command[1]}: {last_error(f'{images.work}/{log}', done.stderr)}",
            hint=f"see {images.work}/{log}",
        )


def last_error(log: str, fallback: str) -> str:
    """criu's own last words: the last line of its log that says Error."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if "Error" in line]
    except OSError:
        lines = []
    return (lines or fallback.strip().splitlines() or ["failed"])[-1]
