"""config.json → a bubblewrap command.  Pure.

    root                 --bind PATH /, and --remount-ro / at the end when read-only
    mounts               --proc, --dev, --mqueue, --tmpfs, --bind, --ro-bind, --dev-bind
    maskedPaths          --ro-bind /dev/null PATH for a file, an empty read-only --tmpfs for a directory
    readonlyPaths        --ro-bind; the four that --proc covers itself are left to it
    namespaces           --unshare-X, --pidns; network, ipc and uts of others are joined by the keeper before
    process              --chdir, --clearenv, --setenv, --cap-drop ALL --cap-add X, --exec-label
    process.user         root as it is, anybody else by --unshare-user --uid --gid
    seccomp              --seccomp, compiled as for the built-in runtime
    resources, oomScoreAdj, additionalGids     not bubblewrap's: the keeper does them around it

Whatever else a configuration asks for is refused with its JSON path.  Nothing is left out in
silence: every field of the models that this module does not read must be at its default.
bubblewrap always sets no_new_privs, and nosuid on all it mounts; that is more than was asked
for at times, never less.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NoReturn

from rundlet.errors import InvalidArgument
from rundlet.plan.container import CgroupPlan
from rundlet.plan.external import BwrapPlan
from rundlet.spec.model import Model
from rundlet.spec.runtime import Capabilities, Linux, Mount, Namespace, Process, Root, RuntimeConfig

_JOINED = ("network", "ipc", "uts")
_UNSHARE = {"network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup"}
_PRIVATE = ("private", "rprivate")  # what the keeper makes of all mounts before
_ALWAYS = ("nosuid", "nodev", "suid", "rw")
_GUARDED = ("nosuid", "noexec", "nodev", "relatime", "rw")
# The usual options of /dev and /dev/pts: --dev is a tmpfs and a devpts of just that kind.
_DEV_OPTIONS = ("nosuid", "noexec", "strictatime", "mode=755", "size=65536k", "rw")
_PTS_OPTIONS = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", "rw")
_COVERED_BY_PROC = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
_HOST_TREES = {"sysfs": "/sys", "cgroup": "/sys/fs/cgroup", "cgroup2": "/sys/fs/cgroup"}
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def plan_bwrap(
    container_id: str,
    config: RuntimeConfig,
    *,
    program: str,
    options: Sequence[str] = (),
    kinds: Mapping[str, str],
    cgroup: CgroupPlan = CgroupPlan(""),
    seccomp: bytes = b"",
) -> BwrapPlan:
    """The command and what the keeper does around it.

    `root.path` is absolute; `kinds` says of masked and read-only paths whether they are a
    "file" or a "directory" (absent: they do not exist); `options` are put before all others.
    Raises InvalidArgument "process.rlimits: bubblewrap cannot do this".
    """
    process, linux, root = _require(config)
    _check_rest(config, {"oci_version", "root", "mounts", "process", "hostname", "annotations", "linux"}, "")
    places = _Places(linux.namespaces or [])
    return BwrapPlan(
        container_id=container_id,
        program=program,
        options=(
            *options,
            *places.unshare(),
            *_identity(process, places),
            *_hostname(config, places),
            *_root(root),
            *_mounts(config),
            *_masks(linux, kinds),
            *_readonly_paths(linux, root, kinds, has_proc=_has_proc(config)),
            *(("--remount-ro", "/") if root.readonly else ()),
            *_environment(process),
            *_labels(process, linux),
            "--chdir",
            process.cwd,
            *(("--as-pid-1",) if places.is_new("pid") else ()),
        ),
        command=tuple(process.args or ()),
        join=places.joined(),
        pid_namespace=places.path("pid"),
        seccomp=seccomp.hex(),
        cgroup=cgroup,
        oom_score_adj=process.oom_score_adj,
        groups=_groups(process, places),
    )


def covered_paths(config: RuntimeConfig) -> list[str]:
    """Those whose kinds `plan_bwrap` must know."""
    linux = config.linux or Linux()
    return [*(linux.masked_paths or ()), *(linux.readonly_paths or ())]


def describe_bwrap(plan: BwrapPlan) -> list[str]:
    """What is done, a line each, the command last; lines with "#" are the keeper's part."""
    lines = []
    if plan.cgroup.path:
        lines.append(f"# {plan.cgroup.describe()}")
    if plan.oom_score_adj is not None:
        lines.append(f"# oom_score_adj {plan.oom_score_adj}")
    lines += [f"# join {kind} namespace {path}" for kind, path in plan.join]
    if plan.pid_namespace:
        lines.append(f"# --pidns FD of {plan.pid_namespace}")
    if plan.seccomp:
        lines.append(f"# --seccomp FD of {len(plan.seccomp) // 16} instructions")
    lines.append(f"# supplementary groups {', '.join(map(str, plan.groups)) or 'none'}")
    return lines


def _refuse(path: str, why: str = "bubblewrap cannot do this", hint: str = "") -> NoReturn:
    raise InvalidArgument(f"{path}: {why}", hint=hint)


def _require(config: RuntimeConfig) -> tuple[Process, Linux, Root]:
    if config.process is None or not config.process.args:
        _refuse("process.args", "expected a program, there is none")
    if config.root is None or not config.root.path.startswith("/"):
        _refuse("root.path", "expected an absolute path")
    return config.process, config.linux or Linux(), config.root


def _check_rest(model: Model, read: Collection[str], where: str) -> None:
    """Every field that is not `read` must say nothing."""
    for name in model.fields:
        if name not in read and getattr(model, name) not in (None, [], {}, "", False, 0):
            _refuse(f"{where}{_json_name(model, name)}")


def _json_name(model: Model, name: str) -> str:
    first, *rest = name.split("_")
    return model.json_names.get(name) or first + "".join(word.capitalize() for word in rest)


# -- namespaces -------------------------------------------------------------------


class _Places:
    """Which namespaces are new, whose, or left as they are."""

    def __init__(self, namespaces: Sequence[Namespace]) -> None:
        self._paths = {item.type: item.path for item in namespaces}
        for index, item in enumerate(namespaces):
            where = f"linux.namespaces[{index}]"
            if item.type not in (*_UNSHARE, "mount", "user"):
                _refuse(f"{where}.type", f"bubblewrap knows no {item.type} namespace")
            if item.path and item.type not in (*_JOINED, "pid"):
                _refuse(f"{where}.path", f"bubblewrap cannot join a {item.type} namespace")
        if "mount" not in self._paths:
            _refuse("linux.namespaces", "bubblewrap always makes a mount namespace; it must be asked for")

    def is_new(self, kind: str) -> bool:
        return self._paths.get(kind) == ""

    def path(self, kind: str) -> str:
        return self._paths.get(kind, "")

    def joined(self) -> tuple[tuple[str, str], ...]:
        return tuple((kind, self.path(kind)) for kind in _JOINED if self.path(kind))

    def unshare(self) -> list[str]:
        return [f"--unshare-{word}" for kind, word in _UNSHARE.items() if self.is_new(kind)]


def _hostname(config: RuntimeConfig, places: _Places) -> list[str]:
    if not config.hostname:
        return []
    if not places.is_new("uts"):
        _refuse("hostname", "it needs a new uts namespace")
    return ["--hostname", config.hostname]


# -- process ------------------------------------------------------------------------

_PROCESS_READ = {
    "cwd", "args", "env", "user", "capabilities", "no_new_privileges", "selinux_label", "oom_score_adj",
}  # fmt: skip


def _identity(process: Process, places: _Places) -> list[str]:
    _check_rest(process, _PROCESS_READ, "process.")
    user = process.user
    _check_rest(user, {"uid", "gid", "additional_gids"}, "process.user.")
    options = []
    if _is_mapped(process, places):
        options = ["--unshare-user", "--uid", str(user.uid), "--gid", str(user.gid)]
        if places.path("pid"):
            _refuse("process.user.uid", "bubblewrap cannot be another user in a joined pid namespace")
        if set(user.additional_gids or []) - {user.gid}:
            _refuse("process.user.additionalGids", "bubblewrap has none beside another user")
    return [*options, *_capabilities(process.capabilities or Capabilities())]


def _is_mapped(process: Process, places: _Places) -> bool:
    """Whether it runs in a user namespace, where the one who starts it becomes `process.user`."""
    return bool(process.user.uid or process.user.gid or places.is_new("user"))


def _groups(process: Process, places: _Places) -> tuple[int, ...]:
    return () if _is_mapped(process, places) else tuple(process.user.additional_gids or ())


def _capabilities(sets: Capabilities) -> list[str]:
    """bubblewrap has one set: permitted, effective and bounding."""
    wanted = sets.permitted or []
    for name in ("effective", "bounding"):
        if set(getattr(sets, name) or []) != set(wanted):
            _refuse(f"process.capabilities.{name}", "it must be the same as permitted for bubblewrap")
    for name in ("inheritable", "ambient"):
        if getattr(sets, name):
            _refuse(f"process.capabilities.{name}")
    return ["--cap-drop", "ALL", *(word for name in wanted for word in ("--cap-add", name))]


def _environment(process: Process) -> list[str]:
    options = ["--clearenv"]
    for item in process.env or []:
        name, _, value = item.partition("=")
        options += ["--setenv", name, value]
    return options


def _labels(process: Process, linux: Linux) -> list[str]:
    exec_label = ["--exec-label", process.selinux_label] if process.selinux_label else []
    return exec_label + (["--file-label", linux.mount_label] if linux.mount_label else [])


# -- root and mounts ------------------------------------------------------------------

_LINUX_READ = {
    "namespaces", "uid_mappings", "gid_mappings", "cgroups_path", "resources", "seccomp", "rootfs_propagation",
    "masked_paths", "readonly_paths", "mount_label",
}  # fmt: skip


def _root(root: Root) -> list[str]:
    # Devices in a rootfs are for whoever has the cgroup's leave: as in the built-in runtime.
    return ["--dev-bind", root.path, "/"]


def _has_proc(config: RuntimeConfig) -> bool:
    return any(item.type == "proc" and item.destination == "/proc" for item in config.mounts or [])


def _mounts(config: RuntimeConfig) -> Iterator[str]:
    linux = config.linux or Linux()
    _check_linux(linux)
    has_dev = False
    for index, item in enumerate(config.mounts or []):
        where = f"mounts[{index}]"
        _check_rest(item, {"destination", "source", "type", "options"}, f"{where}.")
        if not item.destination.startswith("/"):
            _refuse(f"{where}.destination", "expected an absolute path")
        is_dev = item.destination == "/dev" and item.type in ("tmpfs", "devtmpfs")
        if item.type == "devpts":
            if item.destination != "/dev/pts" or not has_dev:
                _refuse(f"{where}.type", "bubblewrap has a devpts only as part of its /dev")
            _check_options(item, _PTS_OPTIONS, where)
            continue
        has_dev = has_dev or is_dev
        yield from _mount(item, where, is_dev=is_dev)


def _mount(item: Mount, where: str, *, is_dev: bool) -> list[str]:
    options = item.options or []
    target = item.destination
    if is_dev:
        _check_options(item, _DEV_OPTIONS, where)
        return ["--dev", target]
    if item.type in ("proc", "mqueue"):
        _check_options(item, _GUARDED, where)
        return [f"--{item.type}", target]
    if item.type == "tmpfs":
        return _tmpfs(item, where)
    if item.type in _HOST_TREES:
        _check_options(item, (*_GUARDED, "ro"), where)
        return ["--ro-bind" if "ro" in options else "--bind", _HOST_TREES[item.type], target]
    if item.type == "bind" or {"bind", "rbind"} & set(options):
        return _bind(item, where)
    _refuse(f"{where}.type", f"bubblewrap cannot mount {item.type or 'nothing'}")


def _check_options(item: Mount, allowed: Collection[str], where: str) -> None:
    for index, option in enumerate(item.options or []):
        if option not in allowed:
            _refuse(f"{where}.options[{index}]", f"bubblewrap cannot do {option!r} here")


def _tmpfs(item: Mount, where: str) -> list[str]:
    before: list[str] = []
    after: list[str] = []
    for index, option in enumerate(item.options or []):
        name, _, value = option.partition("=")
        if name == "size":
            before += ["--size", str(_parse_size(value, f"{where}.options[{index}]"))]
        elif name == "mode":
            before += ["--perms", value]
        elif option == "ro":
            after = ["--remount-ro", item.destination]
        elif option not in (*_ALWAYS, *_PRIVATE):
            _refuse(f"{where}.options[{index}]", f"bubblewrap cannot do {option!r} here")
    return [*before, "--tmpfs", item.destination, *after]


def _parse_size(text: str, where: str) -> int:
    digits = text.rstrip("kKmMgG")
    unit = text[len(digits) :].lower()
    if not digits.isdecimal() or unit not in _SIZES:
        _refuse(where, f"expected a size in bytes, got {text!r}")
    return int(digits) * _SIZES[unit]


def _bind(item: Mount, where: str) -> list[str]:
    options = item.options or []
    if "rbind" not in options:
        _refuse(f"{where}.options", "bubblewrap binds what lies below, too", hint="say rbind")
    _check_options(item, ("bind", "rbind", "ro", "rro", "dev", *_ALWAYS, *_PRIVATE), where)
    if not item.source.startswith("/"):
        _refuse(f"{where}.source", "expected an absolute path")
    verb = "--bind" if "nodev" in options else "--dev-bind"
    if {"ro", "rro"} & set(options):
        verb = "--ro-bind"
    return [verb, item.source, item.destination]


def _check_linux(linux: Linux) -> None:
    _check_rest(linux, _LINUX_READ, "linux.")
    if linux.rootfs_propagation not in ("", *_PRIVATE):
        _refuse("linux.rootfsPropagation", f"bubblewrap cannot do {linux.rootfs_propagation!r}")
    for name in ("uid_mappings", "gid_mappings"):
        if getattr(linux, name):
            _refuse(f"linux.{_json_name(linux, name)}", "bubblewrap maps the one user that runs it only")
    if linux.seccomp is not None:
        for name in ("flags", "listener_path"):
            if getattr(linux.seccomp, name):
                _refuse(f"linux.seccomp.{_json_name(linux.seccomp, name)}")


def _masks(linux: Linux, kinds: Mapping[str, str]) -> Iterator[str]:
    for path in linux.masked_paths or []:
        if kinds.get(path) == "file":
            yield from ("--ro-bind", "/dev/null", path)
        elif kinds.get(path) == "directory":
            yield from ("--tmpfs", path, "--remount-ro", path)


def _readonly_paths(linux: Linux, root: Root, kinds: Mapping[str, str], *, has_proc: bool) -> Iterator[str]:
    for path in linux.readonly_paths or []:
        if path in kinds and not (has_proc and path in _COVERED_BY_PROC):
            source = path if path.startswith(("/proc/", "/sys/")) else f"{root.path}{path}"
            yield from ("--ro-bind", source, path)
