"""criu(8), which carries out `checkpoint` and `restore`: what it is asked to do.

A dump holds the tree of the container's first process and what its namespaces
hold.  What the host gave to the container is left out by name (`external`), and
restore names what of this host takes its place:

    resource              at dump                          at restore
    bind mount            mnt[/destination]:/destination   mnt[/destination]:/source
    masked file           mnt[/path]:/dev/null             mnt[/dev/null]:/dev/null
    net, pid joined       net[inode]:extRootNetNS          inherit_fd extRootNetNS → that namespace
    other kinds joined                                     join_ns
    pipes of stdio        descriptors.json beside them     inherit_fd pipe:[inode] → ours
    FIFOs of the host     file[mount:inode]                inherit_fd file[mount:inode] → ours
    terminal of the host  tty[rdev:dev] (--shell-job)      inherit_fd tty[rdev:dev] → ours

Names and descriptors.json are those that runc uses, so that either can restore
what the other has written.
"""

import os
import shutil
import stat
from collections.abc import Sequence
from typing import Any, NamedTuple

from rundlet.cgroup.group import Group
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.kernel.namespace import KINDS
from rundlet.oci import json
from rundlet.oci.arguments import Arguments
from rundlet.oci.containers import Record
from rundlet.oci.context import Context
from rundlet.oci.criu_protocol import CGROUP_MODES
from rundlet.oci.planning import read_host
from rundlet.plan.container import ContainerPlan
from rundlet.plan.planner import plan_container
from rundlet.plan.steps import Bind, MaskPath
from rundlet.spec.runtime import RuntimeConfig

DESCRIPTORS = "descriptors.json"
_CONFIG_ANNOTATION = "org.criu.config"
_LOG_LEVEL = 4
_SWITCHES = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages")
_DUMP_SWITCHES = ("leave-running", "tcp-skip-in-flight", "link-remap")
_INHERITED = {"network": "extRootNetNS", "pid": "extRootPidNS"}
_NULL = "/dev/null"
_PIPE, _FIFO, _TERMINAL = "pipe:", "file[", "tty["
_TERMINAL_MAJORS = {4, *range(136, 144)}  # consoles, and the slaves of pseudo-terminals (devices.txt)


class Images(NamedTuple):
    """Directories of criu's files and of its logs."""

    path: str
    work: str


class Job(NamedTuple):
    """One request; `options` are criu_opts by name, less what is known when criu runs (descriptors).

    `inherited` are files to be opened for criu, or descriptors of this process, by the key that the
    dump knows them under.
    """

    kind: str
    options: dict[str, Any]
    images: Images
    log: str
    inherited: dict[str, str | int]
    status_fd: int = -1

    def describe(self) -> str:
        options = " ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"criu {self.kind} in {self.images.path}: {options}"


def find_criu(context: Context) -> str:
    """The program; NotFound says how to get it."""
    found = shutil.which(context.criu)
    if found is None:
        raise NotFound(
            f"{context.criu}: executable file not found in $PATH",
            hint="checkpoints are made by criu; install it",
        )
    return found


def make_images(arguments: Arguments) -> Images:
    path = os.path.abspath(arguments.text("image-path", "checkpoint"))
    work = os.path.abspath(arguments.text("work-path")) if arguments.text("work-path") else path
    for directory in (path, work):
        os.makedirs(directory, 0o700, exist_ok=True)
    return Images(path, work)


def plan_again(container_id: str, config: RuntimeConfig, bundle: str, group: Group | None) -> ContainerPlan:
    """The plan of a container whose processes come from elsewhere: for what it says of mounts and hooks."""
    return plan_container(container_id, config, read_host(group), bundle=bundle)


def plan_dump(
    plan: ContainerPlan,
    config: RuntimeConfig,
    arguments: Arguments,
    images: Images,
    record: Record,
    stdio: Sequence[str],
    freezer: str,
) -> Job:
    """Of a running container; `stdio` are its descriptors by name, `freezer` the directory of its
    group that can freeze, or empty.
    """
    is_pre_dump = arguments.has("pre-dump")
    options = _common_options(config, arguments, _DUMP_SWITCHES)
    options |= {"pid": record.pid, "log_file": "dump.log", "root": record.rootfs}
    if freezer:
        options["freeze_cgroup"] = freezer
    if arguments.text("parent-path"):
        options |= {"parent_img": arguments.text("parent-path"), "track_mem": True}
    if is_pre_dump:
        options |= {"track_mem": True, "leave_running": False}
    if arguments.text("page-server"):
        options["page_server"] = _read_page_server(arguments.text("page-server"))
    options["external"] = [*_name_namespaces(config), *_name_mounts(plan, record.pid)]
    named = (_FIFO, _TERMINAL) if arguments.has("shell-job") else (_FIFO,)
    options["external"] += sorted({name for name in stdio if name.startswith(named)})
    kind = "pre-dump" if is_pre_dump else "dump"
    return Job(kind, options, images, "dump.log", {}, arguments.number("status-fd", -1))


def plan_restore(
    plan: ContainerPlan,
    config: RuntimeConfig,
    arguments: Arguments,
    images: Images,
    group_roots: dict[str, str],
) -> Job:
    """`group_roots` are the paths of the container's group, by hierarchy as /proc/PID/cgroup names it."""
    options = _common_options(config, arguments, ())
    options |= {"log_file": "restore.log", "rst_sibling": True, "evasive_devices": True}
    options["cg_root"] = list(group_roots.items())
    options["external"] = [
        f"mnt[{name}]:{source}" for name, source in (*_find_binds(plan).items(), (_NULL, _NULL))
    ]
    for name in ("lsm-profile", "lsm-mount-context"):
        if arguments.text(name):
            options[name.replace("-", "_")] = arguments.text(name)
    joined = _find_joined(config)
    if "cgroup" in joined:
        raise InvalidArgument(
            "config.json: linux.namespaces: criu cannot restore into a cgroup namespace by path"
        )
    options["join_ns"] = [(KINDS[kind].file, path) for kind, path in joined.items() if kind not in _INHERITED]
    inherited: dict[str, str | int] = {
        name: fd for fd, name in enumerate(_read_descriptors(images, _outside_kinds(arguments))) if name
    }
    inherited |= {_INHERITED[kind]: path for kind, path in joined.items() if kind in _INHERITED}
    return Job("restore", options, images, "restore.log", inherited)


def _outside_kinds(arguments: Arguments) -> tuple[str, ...]:
    """How the names of descriptors begin that are not the container's own."""
    return (_PIPE, _FIFO, _TERMINAL) if arguments.has("shell-job") else (_PIPE, _FIFO)


def _common_options(config: RuntimeConfig, arguments: Arguments, switches: tuple[str, ...]) -> dict[str, Any]:
    mode = arguments.text("manage-cgroups-mode")
    if mode not in CGROUP_MODES:
        known = ", ".join(filter(None, CGROUP_MODES))
        raise InvalidArgument(f"flag --manage-cgroups-mode: expected one of {known}, got {mode!r}")
    options: dict[str, Any] = {
        "log_level": _LOG_LEVEL,
        "notify_scripts": True,
        "orphan_pts_master": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": CGROUP_MODES[mode],
    }
    given = (name for name in (*_SWITCHES, *switches) if arguments.has(name))
    options |= {name.replace("-", "_"): True for name in given}
    options["empty_ns"] = _read_empty_namespaces(arguments.many("empty-ns"))
    config_file = (config.annotations or {}).get(_CONFIG_ANNOTATION, "")
    return options | ({"config_file": config_file} if config_file else {})


def _read_empty_namespaces(names: list[str]) -> int:
    for kind in names:
        if kind != "network":
            raise InvalidArgument(f"flag --empty-ns: only network can be left empty, got {kind!r}")
    return KINDS["network"].flag if names else 0


def _read_page_server(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit():
        raise InvalidArgument(f"flag --page-server: expected ADDRESS:PORT, got {text!r}")
    return address, int(port)


def _find_joined(config: RuntimeConfig) -> dict[str, str]:
    """Kinds of namespaces that the configuration gives by path."""
    namespaces = (config.linux.namespaces if config.linux else None) or []
    return {item.type: item.path for item in namespaces if item.path}


def _name_namespaces(config: RuntimeConfig) -> list[str]:
    """Those that outlive the container, and that criu can leave alone."""
    joined = {kind: path for kind, path in _find_joined(config).items() if kind in _INHERITED}
    return [f"{KINDS[kind].file}[{os.stat(path).st_ino}]:{_INHERITED[kind]}" for kind, path in joined.items()]


def _find_binds(plan: ContainerPlan) -> dict[str, str]:
    """What the host gives, by the place where the container sees it."""
    return {os.path.normpath(step.target): step.source for step in plan.setup if isinstance(step, Bind)}


def _name_mounts(plan: ContainerPlan, pid: int) -> list[str]:
    binds = [f"mnt[{target}]:{target}" for target in _find_binds(plan)]
    masks = [step.target for step in plan.setup if isinstance(step, MaskPath)]
    return [*binds, *(f"mnt[{path}]:{_NULL}" for path in masks if _is_masked_file(pid, path))]


def _is_masked_file(pid: int, path: str) -> bool:
    """Directories are masked by a tmpfs, which is the container's own."""
    try:
        return not stat.S_ISDIR(os.stat(f"/proc/{pid}/root/{path}").st_mode)
    except FileNotFoundError:
        return False


def write_descriptors(names: Sequence[str], images: Images) -> None:
    """What the first process has as stdio, for `restore` to put ours in its place."""
    with open(f"{images.path}/{DESCRIPTORS}", "w", encoding="utf-8") as file:
        file.write(json.write(names))


def name_descriptors(pid: int) -> list[str]:
    """0, 1 and 2 of a process as criu knows them, else their path.

    "pipe:[inode]", "tty[rdev:dev]", or "file[mount:inode]" for a FIFO on a mount that it cannot see.
    """
    return [_name_descriptor(f"/proc/{pid}", fd) for fd in range(3)]


def _name_descriptor(process: str, fd: int) -> str:
    try:
        found, path = os.stat(f"{process}/fd/{fd}"), os.readlink(f"{process}/fd/{fd}")
        if stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _TERMINAL_MAJORS:
            return f"{_TERMINAL}{found.st_rdev:x}:{found.st_dev:x}]"
        if stat.S_ISFIFO(found.st_mode) and not path.startswith(_PIPE):
            mount = _find_mount(f"{process}/fdinfo/{fd}")
            return path if mount in _list_mounts(process) else f"{_FIFO}{mount:x}:{found.st_ino:x}]"
    except FileNotFoundError:
        return ""
    return path


def _find_mount(fdinfo: str) -> int:
    """The id of the mount that a descriptor lies on (proc(5))."""
    with open(fdinfo, encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("mnt_id:"))


def _list_mounts(process: str) -> set[int]:
    with open(f"{process}/mountinfo", "rb") as file:
        return {int(line.split()[0]) for line in file}


def _read_descriptors(images: Images, kinds: tuple[str, ...]) -> list[str]:
    """Those that the dump left to us, at the places 0, 1 and 2; empty for what criu restores itself."""
    path = f"{images.path}/{DESCRIPTORS}"
    try:
        with open(path, "rb") as file:
            names = json.read(file.read(), path)
    except FileNotFoundError:
        raise NotFound(f"{images.path}: no checkpoint is there ({DESCRIPTORS} is missing)") from None
    if not isinstance(names, list):
        raise FailedPrecondition(f"{path}: expected a list of three names")
    return [name if isinstance(name, str) and name.startswith(kinds) else "" for name in names[:3]]
