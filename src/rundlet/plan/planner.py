"""From a runtime-spec configuration to a container plan.  Pure.

Every field of the specification's Linux part is planned or refused by its JSON
path, never ignored; properties that the specification does not have are.
"""

import os
from collections.abc import Sequence

from rundlet.errors import InvalidArgument
from rundlet.plan.checks import CONFIG, check_id, check_inside, check_known, check_range
from rundlet.plan.container import CgroupPlan, ContainerPlan, Hooks, UserNamespace
from rundlet.plan.host import Filter, Host, Overlay
from rundlet.plan.identity import plan_mount_label, plan_process
from rundlet.plan.lifecycle import plan_hooks, plan_state
from rundlet.plan.mounts import PROPAGATIONS, Parts, plan_mount
from rundlet.plan.namespaces import Namespaces, plan_names, plan_namespaces, plan_sysctls
from rundlet.plan.process import ProcessPlan
from rundlet.plan.steps import (
    AwaitHooks,
    Bind,
    BindRootfs,
    JoinResctrl,
    MakeDevice,
    MakeSymlink,
    MaskPath,
    MountOverlay,
    OpenTerminal,
    OwnCgroup,
    PivotRoot,
    RunHooks,
    SetFinalPropagation,
    SetOomScore,
    SetReadonly,
    SetRootPropagation,
    SetRootReadonly,
    Step,
    Unshare,
)
from rundlet.spec.runtime import Device, IntelRdt, Linux, Process, RuntimeConfig

__all__ = ["Filter", "Host", "Overlay", "plan_container", "plan_process"]

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
_DEVICE_KINDS = {"c": "c", "u": "c", "b": "b", "p": "p"}
_MAJOR_MAX, _MINOR_MAX = (1 << 12) - 1, (1 << 20) - 1  # <linux/kdev_t.h>


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
    from layers, in the container's own mount namespace only.  A configuration
    without `process` gives a plan that can be created and not started.
    Raises InvalidArgument or FailedPrecondition naming the JSON path.
    """
    if config.root is None or not config.root.path:
        raise InvalidArgument(f"{CONFIG}root.path: expected the path of the root file system, it is missing")
    linux = config.linux or Linux()
    namespaces = plan_namespaces(linux)
    state = plan_state(container_id, config, bundle)
    hooks = plan_hooks(config, state)
    rootfs = os.path.join(bundle, config.root.path)
    parts = Parts(bundle, host.cgroups, namespaces.own, plan_mount_label(linux, host))
    return ContainerPlan(
        container_id,
        namespaces.clone,
        namespaces.pid_namespace,
        cgroup,
        (*_plan_entry(container_id, config, linux, namespaces), *_plan_delegation(config, host, namespaces)),
        (
            *namespaces.unshared,
            *plan_names(config, namespaces.own),
            *plan_sysctls(linux, namespaces.own),
            SetRootPropagation(_propagation(linux)),
            _plan_rootfs(rootfs, overlay, namespaces.user, linux, host),
            *_plan_files(config, linux, parts),
            *_plan_protection(linux),
            *_plan_hook_points(hooks),
            PivotRoot(rootfs),
            *_plan_root(config.root.readonly, linux),
        ),
        _plan_first_process(config.process, host, seccomp, linux, state),
        namespaces.user,
        hooks,
    )


def _plan_first_process(
    process: Process | None, host: Host, seccomp: Filter | None, linux: Linux, state: dict[str, object]
) -> ProcessPlan:
    if process is None:
        return ProcessPlan((), (), "/")
    if not process.args:
        raise InvalidArgument(f"{CONFIG}process.args: expected at least the program's name")
    return plan_process(process, host, seccomp, linux=linux, state=state)


def _plan_entry(
    container_id: str, config: RuntimeConfig, linux: Linux, namespaces: Namespaces
) -> tuple[Step, ...]:
    """What needs the host's rights or files."""
    steps: list[Step] = []
    if config.process is not None and config.process.oom_score_adj is not None:
        steps.append(SetOomScore(config.process.oom_score_adj))
    if linux.intel_rdt is not None:
        steps.append(_plan_resctrl(container_id, linux.intel_rdt))
    return (*steps, *namespaces.entry)


def _plan_delegation(config: RuntimeConfig, host: Host, namespaces: Namespaces) -> list[Step]:
    """config-linux.md#cgroup-ownership: version 2, namespaces of its own for users and cgroups, mounted writable."""
    user = namespaces.user
    root = next((outside for inside, outside, _ in user.uid_map if inside == 0), -1) if user else -1
    is_own = set(host.cgroups) == {""} and Unshare("cgroup") in namespaces.unshared and root >= 0
    writable = any(
        mount.type in ("cgroup", "cgroup2") and "ro" not in (mount.options or [])
        for mount in config.mounts or []
    )
    return [OwnCgroup(host.cgroups[""], root)] if is_own and writable and host.cgroups[""] else []


def _plan_resctrl(container_id: str, value: IntelRdt) -> JoinResctrl:
    """config-linux.md#intelrdt: `schemata` is written after the two older fields; "/" is the default class.

    A class without a name is the container's own.
    """
    name = value.clos_id
    if name != "/" and ("/" in name or name in (".", "..")):
        raise InvalidArgument(
            f"{CONFIG}linux.intelRdt.closID: expected the name of a directory, got {name!r}"
        )
    lines = tuple(
        line for line in (value.l3_cache_schema, value.mem_bw_schema, *(value.schemata or [])) if line
    )
    group = name.strip("/") or (container_id if lines and not name else "")
    return JoinResctrl(group, lines, container_id if value.enable_monitoring else "")


def _propagation(linux: Linux) -> str:
    """Slaves of the host by default: mounts come in, none go out."""
    value = linux.rootfs_propagation or "rslave"
    check_known(value, dict.fromkeys(PROPAGATIONS), "linux.rootfsPropagation")
    if "unbindable" in value:
        return "rprivate"  # only the container's own root is to be that: nothing could be bound into it else
    return value if value.startswith("r") else f"r{value}"


def _plan_rootfs(
    rootfs: str, overlay: Overlay | None, user: UserNamespace | None, linux: Linux, host: Host
) -> Step:
    if overlay is None:
        return BindRootfs(rootfs, rootfs, linux.rootfs_propagation in ("slave", "rslave"))
    return MountOverlay(*overlay, rootfs, user is not None, linux.mount_label, host.is_rootless)


def _plan_files(config: RuntimeConfig, linux: Linux, parts: Parts) -> list[Step]:
    """Mounts, devices, links and the terminal: what the rootfs gets before it becomes the root."""
    steps: list[Step] = []
    for index, mount in enumerate(config.mounts or []):
        steps += plan_mount(mount, f"mounts[{index}]", parts)
    if not any(isinstance(step, Bind) and os.path.normpath(step.target) == "/dev" for step in steps):
        steps += _plan_devices(linux.devices or [])
    process = config.process
    if process is not None and process.terminal:
        size = process.console_size
        steps.append(OpenTerminal(size.height if size else 0, size.width if size else 0, process.user.uid))
    return steps


def _plan_devices(devices: Sequence[Device]) -> list[Step]:
    """The configuration's devices, then those of the defaults that it does not name itself."""
    named = {os.path.normpath(device.path) for device in devices}
    steps: list[Step] = [
        MakeDevice(f"/dev/{name}", "c", major, minor, 0o666, 0, 0)
        for name, major, minor in DEFAULT_DEVICES
        if f"/dev/{name}" not in named
    ]
    steps += [_plan_device(device, f"linux.devices[{index}]") for index, device in enumerate(devices)]
    steps += [
        MakeSymlink(target, points_to)
        for target, points_to in (*_DEV_SYMLINKS, ("/dev/ptmx", "pts/ptmx"))
        if target not in named
    ]
    return steps


def _plan_device(device: Device, where: str) -> MakeDevice:
    kind = check_known(device.type, _DEVICE_KINDS, f"{where}.type")
    check_inside(device.path, f"{where}.path")
    check_range(device.major, 0, _MAJOR_MAX, f"{where}.major")
    check_range(device.minor, 0, _MINOR_MAX, f"{where}.minor")
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    uid, gid = check_id(device.uid or 0, f"{where}.uid"), check_id(device.gid or 0, f"{where}.gid")
    return MakeDevice(device.path, kind, device.major, device.minor, mode, uid, gid)


def _plan_protection(linux: Linux) -> list[Step]:
    """Done before pivot_root, while /proc and /dev/null are still the host's and can be trusted."""
    steps: list[Step] = []
    for index, path in enumerate(linux.readonly_paths or []):
        steps.append(SetReadonly(check_inside(path, f"linux.readonlyPaths[{index}]")))
    for index, path in enumerate(linux.masked_paths or []):
        steps.append(MaskPath(check_inside(path, f"linux.maskedPaths[{index}]")))
    return steps


def _plan_hook_points(hooks: Hooks | None) -> list[Step]:
    """Where the hooks of create have their place: all is mounted, the runtime's files are still in sight."""
    if hooks is None:
        return []
    steps: list[Step] = [AwaitHooks()] if hooks.prestart or hooks.create_runtime else []
    return [*steps, RunHooks()] if hooks.create_container else steps


def _plan_root(readonly: bool, linux: Linux) -> list[Step]:
    """What holds for the container's "/" from the time that it is one."""
    steps: list[Step] = []
    if linux.rootfs_propagation and "private" not in linux.rootfs_propagation:
        steps.append(SetFinalPropagation(linux.rootfs_propagation))
    if readonly:
        steps.append(SetRootReadonly())
    return steps
