"""From a runtime-spec configuration to a container plan or an exec plan.  Pure.

What rundlet does not do yet is refused by its JSON path, never ignored.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.kernel.capability import NUMBERS
from rundlet.plan.container import CgroupPlan, ContainerPlan
from rundlet.plan.mounts import PROPAGATIONS, plan_mount
from rundlet.plan.process import CapabilitySets, ProcessPlan
from rundlet.plan.steps import (
    Bind,
    BindRootfs,
    JoinNamespace,
    MakeDevice,
    MakeSymlink,
    MaskPath,
    MountOverlay,
    OpenTerminal,
    PivotRoot,
    SetDomainname,
    SetHostname,
    SetLimit,
    SetOomScore,
    SetReadonly,
    SetRootPropagation,
    SetRootReadonly,
    Step,
    Unshare,
    WriteSysctl,
)
from rundlet.spec.runtime import Capabilities, Device, Linux, Process, Rlimit, RuntimeConfig

# <asm-generic/resource.h>; x86-64 and arm64 agree
RLIMITS = {
    name: number
    for number, name in enumerate(
        """RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE
        RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO
        RLIMIT_RTTIME""".split()
    )
}
_RLIM_INFINITY = (1 << 64) - 1

# config-linux.md#default-devices: name, major, minor
DEFAULT_DEVICES = (
    ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
)  # fmt: skip
_DEV_SYMLINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
)
_CLONED = ("mount", "pid", "network", "ipc", "uts")


class Overlay(NamedTuple):
    """A rootfs made of layers, `lower` with the topmost first; absolute host paths."""

    lower: tuple[str, ...]
    upper: str
    work: str


class Host(NamedTuple):
    """What the plan must know of the machine, read once by whoever plans.

    `capabilities` is the bounding set that can be given at all; `cgroups` maps
    each controller to the container's directory in it ("" alone for version 2).
    """

    capabilities: int
    cgroups: Mapping[str, str] = {}


class Filter(NamedTuple):
    """A compiled seccomp program (struct sock_filter[]) and its SECCOMP_FILTER_FLAG_* bits."""

    program: bytes
    flags: int = 0


def plan_container(
    container_id: str,
    config: RuntimeConfig,
    host: Host,
    *,
    bundle: str,
    overlay: Overlay | None = None,
    cgroup: CgroupPlan = CgroupPlan(""),
    seccomp: Filter | None = None,
) -> ContainerPlan:
    """The plan of `config`.

    The rootfs is `root.path` below `bundle`; with `overlay` it is mounted there
    from layers, in the container's own mount namespace only.
    Raises InvalidArgument or Unimplemented naming the JSON path.
    """
    if config.process is None or not config.process.args:
        raise InvalidArgument("config.json: process.args: expected at least the program's name")
    if config.root is None:
        raise InvalidArgument("config.json: root: expected an object, it is missing")
    _refuse_later(config)
    linux = config.linux or Linux()
    clone, joined, pid_namespace, unshared = _sort_namespaces(linux)
    rootfs = os.path.join(bundle, config.root.path)
    setup: list[Step] = [*joined, *unshared, *_plan_names(config, "uts" in clone), *_plan_sysctls(linux)]
    if config.process.oom_score_adj is not None:
        setup.append(SetOomScore(config.process.oom_score_adj))
    setup.append(SetRootPropagation(_propagation(linux)))
    setup.append(MountOverlay(*overlay, rootfs) if overlay else BindRootfs(rootfs, rootfs))
    setup += _plan_files(config, linux, host, bundle)
    setup += _plan_protection(config.root.readonly, linux)
    setup.append(PivotRoot(rootfs))
    process = plan_process(config.process, host, seccomp)
    return ContainerPlan(container_id, clone, pid_namespace, cgroup, tuple(setup), process)


def _refuse_later(config: RuntimeConfig) -> None:
    """Fields of the specification that later versions of rundlet will do."""
    linux, process, hooks = config.linux or Linux(), config.process, config.hooks
    present = {
        "hooks": bool(hooks and any((hooks.prestart, hooks.create_runtime, hooks.create_container,
                                     hooks.start_container, hooks.poststart, hooks.poststop))),
        "linux.uidMappings": bool(linux.uid_mappings),
        "linux.gidMappings": bool(linux.gid_mappings),
        "linux.timeOffsets": bool(linux.time_offsets),
        "linux.netDevices": bool(linux.net_devices),
        "linux.intelRdt": linux.intel_rdt is not None,
        "linux.memoryPolicy": linux.memory_policy is not None,
        "linux.personality": linux.personality is not None,
        "linux.mountLabel": bool(linux.mount_label),
        "linux.seccomp.listenerPath": bool(linux.seccomp and linux.seccomp.listener_path),
        "process.apparmorProfile": bool(process and process.apparmor_profile),
        "process.selinuxLabel": bool(process and process.selinux_label),
        "process.scheduler": bool(process and process.scheduler),
        "process.ioPriority": bool(process and process.io_priority),
        "process.execCPUAffinity": bool(process and process.exec_cpu_affinity),
    }  # fmt: skip
    for path, given in present.items():
        if given:
            raise Unimplemented(f"config.json: {path} is not done by rundlet yet")


class _Namespaces(NamedTuple):
    clone: tuple[str, ...]
    joined: tuple[Step, ...]
    pid_namespace: str
    unshared: tuple[Step, ...]


def _sort_namespaces(linux: Linux) -> _Namespaces:
    """Which namespaces are made, which joined; a kind named twice is an error (config-linux.md#namespaces)."""
    clone: list[str] = []
    joined: list[Step] = []
    unshared: list[Step] = []
    pid_namespace = ""
    seen: set[str] = set()
    for index, item in enumerate(linux.namespaces or []):
        where = f"config.json: linux.namespaces[{index}]"
        if item.type in seen:
            raise InvalidArgument(f"{where}.type: {item.type} is given twice")
        seen.add(item.type)
        if item.type in ("user", "time") or (item.type == "mount" and item.path):
            raise Unimplemented(
                f"{where}: {item.type} namespace{' by path' if item.path else ''} is not done by rundlet yet"
            )
        if item.type not in (*_CLONED, "cgroup"):
            raise InvalidArgument(f"{where}.type: unknown namespace {item.type!r}")
        if item.path and item.type == "pid":
            pid_namespace = item.path
        elif item.path:
            joined.append(JoinNamespace(item.type, item.path))
        elif item.type == "cgroup":
            unshared.append(Unshare("cgroup"))
        else:
            clone.append(item.type)
    if "mount" not in clone:
        raise InvalidArgument("config.json: linux.namespaces: a container needs a mount namespace of its own")
    return _Namespaces(tuple(clone), tuple(joined), pid_namespace, tuple(unshared))


def _plan_names(config: RuntimeConfig, own_uts: bool) -> list[Step]:
    if (config.hostname or config.domainname) and not own_uts:
        raise InvalidArgument("config.json: hostname: set without a uts namespace of the container's own")
    steps: list[Step] = []
    if config.hostname:
        steps.append(SetHostname(config.hostname))
    if config.domainname:
        steps.append(SetDomainname(config.domainname))
    return steps


def _plan_sysctls(linux: Linux) -> list[Step]:
    for name in linux.sysctl or {}:
        if ".." in name or name.startswith(("/", ".")) or not name:
            raise InvalidArgument(f"config.json: linux.sysctl: {name!r} names no setting below /proc/sys")
    return [WriteSysctl(name, value) for name, value in (linux.sysctl or {}).items()]


def _propagation(linux: Linux) -> str:
    """Slaves of the host by default: mounts come in, none go out."""
    value = linux.rootfs_propagation or "rslave"
    if value not in PROPAGATIONS:
        raise InvalidArgument(f"config.json: linux.rootfsPropagation: unknown propagation {value!r}")
    return value if value.startswith("r") else f"r{value}"


def _plan_files(config: RuntimeConfig, linux: Linux, host: Host, bundle: str) -> list[Step]:
    """Mounts, devices, links and the terminal: what the rootfs gets before it becomes the root."""
    steps: list[Step] = []
    for index, mount in enumerate(config.mounts or []):
        steps += plan_mount(mount, f"config.json: mounts[{index}]", bundle, host.cgroups)
    if not any(isinstance(step, Bind) and os.path.normpath(step.target) == "/dev" for step in steps):
        steps += _plan_devices(linux.devices or [])
    process = config.process
    if process is not None and process.terminal:
        size = process.console_size
        steps.append(OpenTerminal(size.height if size else 0, size.width if size else 0, process.user.uid))
    return steps


def _plan_devices(devices: Sequence[Device]) -> list[Step]:
    steps: list[Step] = [
        MakeDevice(f"/dev/{name}", "c", major, minor, 0o666, 0, 0) for name, major, minor in DEFAULT_DEVICES
    ]
    for index, device in enumerate(devices):
        kind = "c" if device.type == "u" else device.type
        if kind not in ("c", "b", "p"):
            raise InvalidArgument(
                f"config.json: linux.devices[{index}].type: unknown device type {device.type!r}"
            )
        mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
        steps.append(
            MakeDevice(device.path, kind, device.major, device.minor, mode, device.uid or 0, device.gid or 0)
        )
    steps += [
        MakeSymlink(target, points_to) for target, points_to in (*_DEV_SYMLINKS, ("/dev/ptmx", "pts/ptmx"))
    ]
    return steps


def _plan_protection(readonly_root: bool, linux: Linux) -> list[Step]:
    """Done before pivot_root, while /proc and /dev/null are still the host's and can be trusted."""
    steps: list[Step] = [SetReadonly(path) for path in linux.readonly_paths or []]
    steps += [MaskPath(path) for path in linux.masked_paths or []]
    if readonly_root:
        steps.append(SetRootReadonly())
    return steps


def plan_process(process: Process, host: Host, seccomp: Filter | None = None) -> ProcessPlan:
    """Identity, limits and program of one process: a container's first, or an exec into it."""
    if not process.cwd.startswith("/"):
        raise InvalidArgument(f"process.cwd: expected an absolute path, got {process.cwd!r}")
    if not process.args:
        raise InvalidArgument("process.args: expected at least the program's name")
    for word in (*process.args, *(process.env or [])):
        if "\0" in word:
            raise InvalidArgument(f"process: a null byte in {word!r}")
    size = process.console_size
    return ProcessPlan(
        args=tuple(process.args),
        env=tuple(process.env or ()),
        cwd=process.cwd,
        uid=process.user.uid,
        gid=process.user.gid,
        groups=tuple(process.user.additional_gids or ()),
        umask=process.user.umask,
        capabilities=_plan_capabilities(process.capabilities, host.capabilities),
        no_new_privileges=process.no_new_privileges,
        limits=tuple(_plan_limit(limit, index) for index, limit in enumerate(process.rlimits or [])),
        oom_score_adj=process.oom_score_adj,
        terminal=process.terminal,
        seccomp=base64.b64encode(seccomp.program).decode() if seccomp else "",
        seccomp_flags=seccomp.flags if seccomp else 0,
        console_size=(size.height, size.width) if size else (0, 0),
    )


def _plan_capabilities(sets: Capabilities | None, available: int) -> CapabilitySets:
    """Names unknown here and what this host cannot give are left out, as runc does with a warning.

    So are ambient capabilities that are not permitted and inheritable: no
    kernel gives those (capabilities(7)), and runc's own default asks for them.
    """
    given = sets or Capabilities()
    bounding, effective, permitted, inheritable, ambient = (
        sum(1 << NUMBERS[name] for name in set(names or ()) if name in NUMBERS) & available
        for names in (given.bounding, given.effective, given.permitted, given.inheritable, given.ambient)
    )
    return CapabilitySets(
        bounding, effective & permitted, permitted, inheritable, ambient & permitted & inheritable
    )


def _plan_limit(limit: Rlimit, index: int) -> SetLimit:
    if limit.type not in RLIMITS:
        raise InvalidArgument(f"process.rlimits[{index}].type: unknown limit {limit.type!r}")
    soft, hard = (-1 if value >= _RLIM_INFINITY else value for value in (limit.soft, limit.hard))
    return SetLimit(limit.type, RLIMITS[limit.type], soft, hard)
