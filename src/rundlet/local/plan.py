"""RunOptions and what was looked up for them → what the engine is asked.  Pure.

    asked ──┐
    facts ──┴─► pod   (when the container gets one of its own)
                container

A container without a pod has a pod sandbox of its own, of the same name: its network, host name and
shared memory are the sandbox's, everything else the container's.
"""

from typing import NamedTuple

from msgspec.structs import replace

from rundlet.engine.config import MASKED_PATHS, READONLY_PATHS
from rundlet.engine.options import (
    ContainerOptions,
    IdMapping,
    Mount,
    NamespaceMode,
    NetworkUse,
    PodOptions,
    PortMapping,
    Resources,
    Rlimit,
    Security,
)
from rundlet.engine.options import Namespaces as EngineNamespaces
from rundlet.errors import InvalidArgument, Unimplemented
from rundlet.local.options import Namespaces, NetworkChoice, PodRequest, RunOptions, VolumeMount

LOG_FILE = "container.log"
# podman's default: a fork bomb ends here, and no program of sense notices.
_PIDS_LIMIT = 2048
_NONE = ("/nonexistent",)  # no path at all would mean the usual ones to the engine
_WRITABLE = ("/run", "/tmp", "/var/tmp")  # noqa: S108 - of a container whose root is read-only


class Facts(NamedTuple):
    """What was looked up: `mounts` with volumes as host paths, `ports` with every host port chosen.

    `networks` are those that the pod of its own joins, `secrets` are variables.
    `keeps_limits`: the host has cgroups for this user's containers.
    `log_directory` has the logs of all containers, `log_path` is this one's below it.
    """

    image_id: str
    image_name: str
    log_directory: str
    log_path: str = ""
    mounts: tuple[Mount, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    networks: tuple[NetworkUse, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()
    keeps_limits: bool = True


class LocalPlan(NamedTuple):
    """`pod` is None for a container that joins one."""

    pod: PodOptions | None
    container: ContainerOptions

    def describe(self) -> list[str]:
        """One line each, as `--explain` shows them."""
        lines = []
        if self.pod is not None:
            ports = ", ".join(
                f"{port.host_port}->{port.container_port}/{port.protocol}" for port in self.pod.port_mappings
            )
            lines.append(f"make a pod sandbox {self.pod.name}" + (f", ports {ports}" if ports else ""))
        return [*lines, f"make container {self.container.name} of {self.container.user_image}"]


def plan_run(asked: RunOptions, facts: Facts) -> LocalPlan:
    """Raises InvalidArgument for options that cannot go together, Unimplemented for what there is not."""
    _refuse_what_is_not(asked)
    pod = None if asked.pod or joins_other(asked) else _plan_own_pod(asked, facts)
    return LocalPlan(pod, _plan_container(asked, facts))


def _refuse_what_is_not(asked: RunOptions) -> None:
    """What podman has and rundlet has not: never taken and then forgotten."""
    spaces = asked.namespaces
    if spaces.user not in ("", "host") and not spaces.uid_maps:
        raise InvalidArgument(
            f"--userns {spaces.user}: says nothing of the ids", hint="map them with --uidmap"
        )
    if spaces.uid_maps and (asked.pod or joins_other(asked)):
        raise InvalidArgument(
            "ids are those of the pod, or of the container, that is joined",
            hint="leave --userns, --uidmap and --gidmap out",
        )
    if spaces.cgroup not in ("", "private", "host"):
        raise Unimplemented(
            f"--cgroupns {spaces.cgroup}: not supported", hint="a container has its own, or the host's"
        )
    if spaces.uts == "host" and asked.hostname:
        raise InvalidArgument("--hostname and --uts host exclude each other")
    if "keep-groups" in asked.groups:
        raise Unimplemented(
            "--group-add keep-groups: not supported: who starts a container is not its parent here",
            hint="name the groups, or their numbers",
        )


def joins_other(asked: RunOptions) -> str:
    """The container whose pod this one goes into, "" for none (`--network container:ID` and its like)."""
    spaces = asked.namespaces
    named = {
        value.partition(":")[2]
        for value in (spaces.pid, spaces.ipc, spaces.uts)
        if value.startswith("container:")
    }
    if asked.network.mode == "container":
        named.add(asked.network.container)
    if len(named) > 1:
        raise InvalidArgument(f"namespaces of several containers at once: {', '.join(sorted(named))}")
    return next(iter(named), "")


def plan_pod(asked: PodRequest, name: str, facts: Facts) -> PodOptions:
    """A pod that containers join."""
    return PodOptions(
        name=name,
        origin="local",
        hostname=asked.hostname,
        log_directory=facts.log_directory,
        dns=asked.dns,
        port_mappings=facts.ports,
        labels=asked.labels,
        annotations=asked.annotations,
        cgroup_parent=asked.cgroup_parent,
        sysctls=asked.sysctls,
        security=Security(
            namespaces=_plan_pod_namespaces(asked.network, asked.namespaces, pid=_share_pid(asked))
        ),
        resources=asked.resources,
        runtime_handler=asked.runtime_handler,
        networks=facts.networks,
        connected=asked.network.mode != "none",
        hosts=(*asked.hosts, *facts.hosts),
        shm_size_bytes=asked.shm_size_bytes,
        redirects=asked.redirects,
    )


def _share_pid(asked: PodRequest) -> NamespaceMode:
    if asked.namespaces.pid == "host":
        return "node"
    return "pod" if "pid" in asked.share else "container"


def _plan_own_pod(asked: RunOptions, facts: Facts) -> PodOptions:
    return PodOptions(
        name=asked.name,
        origin="local",
        hostname=asked.hostname,
        log_directory=facts.log_directory,
        dns=asked.dns,
        port_mappings=facts.ports,
        cgroup_parent=asked.cgroup_parent,
        sysctls=asked.sysctls,
        security=Security(
            privileged=asked.confinement.privileged,
            namespaces=_plan_pod_namespaces(asked.network, asked.namespaces, pid=_own_pid(asked)),
        ),
        runtime_handler=asked.runtime_handler,
        networks=facts.networks,
        connected=asked.network.mode != "none",
        hosts=(*asked.hosts, *facts.hosts),
        shm_size_bytes=asked.shm_size_bytes,
    )


def _own_pid(asked: RunOptions) -> NamespaceMode:
    """`--init` is the tiny init of a shared pid namespace: it reaps what nobody waits for."""
    if asked.namespaces.pid == "host":
        return "node"
    return "pod" if asked.init else "container"


def _plan_pod_namespaces(network: NetworkChoice, spaces: Namespaces, pid: NamespaceMode) -> EngineNamespaces:
    mapped = bool(spaces.uid_maps)
    return EngineNamespaces(
        network="node" if network.mode == "host" else "pod",
        pid=pid,
        ipc="node" if spaces.ipc == "host" else "pod",
        uts="node" if spaces.uts == "host" else "pod",
        user="pod" if mapped else "node",
        uid_mappings=tuple(IdMapping(*item) for item in spaces.uid_maps),
        gid_mappings=tuple(IdMapping(*item) for item in spaces.gid_maps or spaces.uid_maps) if mapped else (),
    )


def _plan_container(asked: RunOptions, facts: Facts) -> ContainerOptions:
    return ContainerOptions(
        name=asked.name,
        image=facts.image_id,
        origin="local",
        user_image=facts.image_name,
        command=asked.command if asked.entrypoint == () else asked.entrypoint or (),
        args=() if asked.entrypoint == () else asked.command,
        working_dir=asked.workdir,
        env=(("container", "rundlet"), *facts.secrets, *asked.env),
        mounts=(*facts.mounts, *_plan_writable(asked, facts.mounts)),
        devices=asked.devices,
        cdi_devices=asked.cdi_devices,
        labels=asked.labels,
        annotations=asked.annotations,
        log_path=facts.log_path if asked.logging.driver != "none" else "",
        log_limit_bytes=asked.logging.max_size_bytes,
        stdin=asked.stdin,
        stdin_once=asked.stdin_once,
        tty=asked.tty,
        resources=_plan_resources(asked, facts),
        security=_plan_security(asked),
        stop_signal=asked.stop_signal,
        rlimits=tuple(
            Rlimit(f"RLIMIT_{limit.name.upper()}", limit.soft, limit.hard) for limit in asked.ulimits
        ),
        unset_env=asked.unset_env,
        unset_all_env=asked.unset_all_env,
        umask=asked.umask,
        own_hosts=asked.own_hosts,
        name_user=asked.passwd,
        personality=asked.personality,
        device_accesses=asked.device_accesses,
    )


def plan_mount(wanted: VolumeMount, host_path: str = "") -> Mount:
    """A bind, tmpfs or image as it is; a volume by the `host_path` where it lies."""
    common = {"readonly": wanted.readonly, "options": wanted.options}
    match wanted.kind:
        case "tmpfs":
            return Mount(wanted.target, tmpfs=_plan_tmpfs(wanted), **common)  # type: ignore[arg-type]  # two fields
        case "image":
            return Mount(wanted.target, image=wanted.source, image_sub_path=wanted.sub_path, readonly=True)
        case _:
            return Mount(
                wanted.target,
                host_path=host_path or wanted.source,
                recursive_readonly=wanted.recursive_readonly,
                propagation=wanted.propagation,
                selinux_relabel=wanted.selinux_relabel,
                **common,  # type: ignore[arg-type]  # two fields
            )


def _plan_tmpfs(wanted: VolumeMount) -> tuple[str, ...]:
    size = (f"size={wanted.size_bytes}",) if wanted.size_bytes else ()
    return (*size, f"mode={wanted.mode or 0o1777:o}")


def _plan_writable(asked: RunOptions, mounts: tuple[Mount, ...]) -> tuple[Mount, ...]:
    """`--read-only` leaves the usual places for temporary files, in memory."""
    if not (asked.read_only and asked.read_only_tmpfs):
        return ()
    taken = {mount.container_path for mount in mounts}
    return tuple(Mount(path, tmpfs=("mode=1777",)) for path in _WRITABLE if path not in taken)


def _plan_resources(asked: RunOptions, facts: Facts) -> Resources:
    limits = asked.resources
    if limits.pids_limit is None:
        return replace(limits, pids_limit=_PIDS_LIMIT) if facts.keeps_limits else limits
    return replace(limits, pids_limit=None) if limits.pids_limit <= 0 else limits


def _plan_security(asked: RunOptions) -> Security:
    confinement = asked.confinement
    return Security(
        privileged=confinement.privileged,
        namespaces=EngineNamespaces(
            pid=_plan_pid(asked),
            cgroup="node" if asked.namespaces.cgroup == "host" else "container",
            target_id=_find_target(asked),
        ),
        capabilities=confinement.capabilities,
        user_name=asked.user,
        supplemental_groups=tuple(int(group) for group in asked.groups if group.isdecimal()),
        supplemental_group_names=tuple(group for group in asked.groups if not group.isdecimal()),
        readonly_rootfs=asked.read_only,
        no_new_privileges=confinement.no_new_privileges,
        seccomp=confinement.seccomp,
        apparmor=confinement.apparmor,
        selinux=confinement.selinux,
        masked_paths=_change_paths(MASKED_PATHS, confinement.mask, confinement.unmask),
        readonly_paths=_change_paths(READONLY_PATHS, (), confinement.unmask),
    )


def _plan_pid(asked: RunOptions) -> NamespaceMode:
    if asked.namespaces.pid.startswith("container:"):
        return "target"
    return "node" if asked.namespaces.pid == "host" else "pod"


def _find_target(asked: RunOptions) -> str:
    kind, _, target = asked.namespaces.pid.partition(":")
    return target if kind == "container" else ""


def _change_paths(usual: tuple[str, ...], more: tuple[str, ...], fewer: tuple[str, ...]) -> tuple[str, ...]:
    """Empty for the usual ones, as the engine has it."""
    if not more and not fewer:
        return ()
    kept = () if "ALL" in fewer else tuple(path for path in usual if path not in fewer)
    return (*kept, *more) or _NONE
