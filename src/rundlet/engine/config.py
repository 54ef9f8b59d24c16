"""Options and image → the runtime specification's config.json.  Pure.

Everything that must be looked up (the pod's namespaces and files, the image's passwd,
device nodes, the host's abilities) comes in as values.
"""

from collections.abc import Mapping
from typing import NamedTuple

from rundlet.engine import capabilities
from rundlet.engine.devices import device_rules
from rundlet.engine.limits import clamp_oom_score, plan_limits
from rundlet.engine.mounts import PodFiles, Surroundings, plan_mounts, root_propagation, spec_mappings
from rundlet.engine.options import ContainerOptions, NamespaceMode, PodOptions
from rundlet.engine.options import Mount as MountOption
from rundlet.engine.options import Rlimit as RlimitOption
from rundlet.engine.selinux import Defaults, Labels
from rundlet.engine.users import Identity
from rundlet.errors import InvalidArgument
from rundlet.spec.image import ExecutionConfig
from rundlet.spec.runtime import (
    Device,
    Linux,
    Namespace,
    Personality,
    Process,
    Rlimit,
    Root,
    RuntimeConfig,
    Seccomp,
    User,
)

OCI_VERSION = "1.2.0"
_UNLIMITED = (1 << 64) - 1  # RLIM_INFINITY
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What leaks host state or lets a container change it, although it lies in /proc and /sys.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class HostFacts(NamedTuple):
    """What this process and kernel can do; `oom_score_adj` is this process's own.

    `selinux` are the policy's labels for containers, None without SELinux.
    `is_rootless`: the engine is an ordinary user's, in a user namespace, which may
    have no group for terminals.
    """

    oom_score_adj: int
    may_lower_oom_score: bool
    swap_accounting: bool
    apparmor: bool
    selinux: Defaults | None = None
    is_rootless: bool = False
    has_tty_group: bool = True


class PodView(NamedTuple):
    """The pod that the container goes into; `namespaces` maps net, ipc, uts, pid to pinned files."""

    id: str
    options: PodOptions
    hostname: str
    namespaces: Mapping[str, str]
    files: PodFiles


class ContainerView(NamedTuple):
    """What was looked up for one container.

    `target_pid_namespace` is the file of the container whose processes it joins, `devices`
    are (node, permissions) pairs, `mounts` have their host paths resolved.  `labels` and
    `apparmor_profile` are what the host's security modules are told.
    """

    id: str
    cgroups_path: str
    image_name: str
    identity: Identity
    mounts: list[MountOption]
    devices: list[tuple[Device, str]]
    seccomp: Seccomp | None
    target_pid_namespace: str = ""
    labels: Labels = Labels()
    apparmor_profile: str = ""


def build_config(
    pod: PodView, facts: ContainerView, options: ContainerOptions, image: ExecutionConfig, host: HostFacts
) -> RuntimeConfig:
    """The complete configuration of a container.

    Raises InvalidArgument for options that cannot go together.
    """
    return RuntimeConfig(
        oci_version=OCI_VERSION,
        root=Root(path="rootfs", readonly=options.security.readonly_rootfs),
        mounts=plan_mounts(
            facts.mounts,
            pod.files,
            privileged=options.security.privileged,
            own_hosts=options.own_hosts,
            around=Surroundings(host.has_tty_group, not host.is_rootless or "ipc" in pod.namespaces),
        ),
        process=_build_process(pod, facts, options, image, host),
        annotations=_annotations(pod, facts, options),
        linux=_build_linux(pod, facts, options, host),
    )


def choose_args(options: ContainerOptions, image: ExecutionConfig) -> list[str]:
    """CRI: `command` replaces the image's entry point and drops its arguments; `args` replaces those.

    Raises InvalidArgument when nothing is left to run.
    """
    command = options.command or image.entrypoint
    args = options.args
    if not args and not options.command:
        args = image.cmd
    if not command and not args:
        raise InvalidArgument(
            "command: neither the options nor the image say what to run",
            hint="give command, or use an image with an entry point",
        )
    return [*command, *args]


def choose_env(options: ContainerOptions, image: ExecutionConfig, hostname: str) -> list[str]:
    """PATH, HOSTNAME, TERM, then the image's, then the options'; the last of a name wins.

    What is to be unset is left out of all but the options'.
    """
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if options.tty:
        env["TERM"] = "xterm"
    env.update((key, value) for key, _, value in (item.partition("=") for item in image.env) if key)
    for name in [*env] if options.unset_all_env else options.unset_env:
        env.pop(name, None)
    env.update(options.env)
    return [f"{key}={value}" for key, value in env.items()]


def add_home(env: list[str], home: str) -> list[str]:
    """HOME of the passwd entry, unless something set it."""
    return env if any(item.startswith("HOME=") for item in env) else [*env, f"HOME={home}"]


def _build_process(
    pod: PodView, facts: ContainerView, options: ContainerOptions, image: ExecutionConfig, host: HostFacts
) -> Process:
    security, identity = options.security, facts.identity
    return Process(
        cwd=options.working_dir or image.working_dir or "/",
        args=choose_args(options, image),
        env=add_home(choose_env(options, image, pod.hostname), identity.home),
        terminal=options.tty,
        user=User(
            uid=identity.uid,
            gid=identity.gid,
            umask=options.umask,
            additional_gids=list(identity.groups),
        ),
        capabilities=capabilities.choose(security.capabilities, privileged=security.privileged),
        no_new_privileges=security.no_new_privileges,
        rlimits=[_rlimit(limit) for limit in options.rlimits] or None,
        apparmor_profile=facts.apparmor_profile,
        selinux_label=facts.labels.process,
        oom_score_adj=clamp_oom_score(
            options.resources.oom_score_adj, own=host.oom_score_adj, may_lower=host.may_lower_oom_score
        ),
    )


def _rlimit(limit: RlimitOption) -> Rlimit:
    soft, hard = (_UNLIMITED if value == -1 else value for value in (limit.soft, limit.hard))
    return Rlimit(type=limit.name, soft=soft, hard=hard)


def _build_linux(pod: PodView, facts: ContainerView, options: ContainerOptions, host: HostFacts) -> Linux:
    privileged = options.security.privileged
    rules = device_rules(facts.devices, options.device_accesses, privileged=privileged)
    return Linux(
        namespaces=plan_namespaces(pod, options, facts.target_pid_namespace),
        uid_mappings=spec_mappings(pod.options.security.namespaces.uid_mappings),
        gid_mappings=spec_mappings(pod.options.security.namespaces.gid_mappings),
        devices=[node for node, _ in facts.devices] or None,
        cgroups_path=facts.cgroups_path,
        resources=plan_limits(options.resources, rules, swap_accounting=host.swap_accounting),
        seccomp=facts.seccomp,
        rootfs_propagation=root_propagation(facts.mounts),
        mount_label=facts.labels.mount,
        personality=Personality(options.personality) if options.personality else None,
        masked_paths=None if privileged else list(options.security.masked_paths or MASKED_PATHS),
        readonly_paths=None if privileged else list(options.security.readonly_paths or READONLY_PATHS),
    )


def plan_namespaces(pod: PodView, options: ContainerOptions, target_pid_namespace: str) -> list[Namespace]:
    """Mount always new; network, IPC and UTS the pod's or the node's; PID and cgroup by mode."""
    shared = {"network": "net", "ipc": "ipc", "uts": "uts"}
    joined = [
        Namespace(type=kind, path=pod.namespaces[short])
        for kind, short in shared.items()
        if short in pod.namespaces
    ]
    pid = _pid_namespace(pid_mode(pod.options, options), pod, target_pid_namespace)
    user = [Namespace(type="user", path=pod.namespaces["user"])] if "user" in pod.namespaces else []
    has_group = options.security.namespaces.cgroup == "container"
    group = [Namespace(type="cgroup")] if has_group else []
    return [*user, *joined, *([pid] if pid else []), Namespace(type="mount"), *group]


def pid_mode(pod: PodOptions, options: ContainerOptions) -> NamespaceMode:
    """ "pod" means what the pod has, which may be the node's or one for each container."""
    mode = options.security.namespaces.pid
    return pod.security.namespaces.pid if mode == "pod" else mode


def _pid_namespace(mode: NamespaceMode, pod: PodView, target: str) -> Namespace | None:
    match mode:
        case "node":
            return None
        case "pod":
            return Namespace(type="pid", path=pod.namespaces["pid"])
        case "target":
            return Namespace(type="pid", path=target)
        case "container":
            return Namespace(type="pid")


def _annotations(pod: PodView, facts: ContainerView, options: ContainerOptions) -> dict[str, str]:
    """The caller's, and the names under which node tools look for pod and container."""
    return {
        **options.annotations,
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.container-name": options.name,
        "io.kubernetes.cri.image-name": facts.image_name,
        "io.kubernetes.cri.sandbox-id": pod.id,
        "io.kubernetes.cri.sandbox-name": pod.options.name,
        "io.kubernetes.cri.sandbox-namespace": pod.options.namespace,
        "io.kubernetes.cri.sandbox-uid": pod.options.uid,
    }
