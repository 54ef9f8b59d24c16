"""What a caller asks of the engine: plain values that the CRI daemon, the
command line and Python programs all build alike.

They are stored as JSON beside the record of what they made, so every field has
a default and unknown fields are ignored: an older record stays readable.
Sizes are bytes, CPU times microseconds, as in the OCI runtime specification.
"""

from typing import Literal

from msgspec import Struct

from rundlet.spec.runtime import Seccomp

NamespaceMode = Literal["pod", "container", "node", "target"]
Propagation = Literal["private", "host-to-container", "bidirectional"]


class _Options(Struct, frozen=True, omit_defaults=True):
    """Immutable; equal values compare equal."""


class IdMapping(_Options, frozen=True):
    """`length` ids from `container_id` on are those from `host_id` on outside."""

    container_id: int
    host_id: int
    length: int


class Namespaces(_Options, frozen=True):
    """Whose namespaces a pod or container uses (CRI NamespaceOption).

    The mappings belong to a user namespace of the pod's own.  `uts` is the pod's where the network is, or
    the node's; `cgroup` is the container's own, or the node's.
    """

    network: NamespaceMode = "pod"
    pid: NamespaceMode = "pod"
    ipc: NamespaceMode = "pod"
    uts: Literal["pod", "node"] = "pod"
    cgroup: Literal["container", "node"] = "container"
    target_id: str = ""
    user: NamespaceMode = "node"
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class SecurityProfile(_Options, frozen=True):
    """Seccomp or AppArmor: the runtime's default, none, or a file (or name) of the host."""

    kind: Literal["runtime-default", "unconfined", "localhost"] = "unconfined"
    path: str = ""


class Capabilities(_Options, frozen=True):
    """Names with or without CAP_, or ALL."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    add_ambient: tuple[str, ...] = ()


class SelinuxLabel(_Options, frozen=True):
    """The parts of a process's label that are asked for; an empty one is the host's default (the pod's)."""

    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class Security(_Options, frozen=True):
    """Who a process is and what it may do (CRI Linux*SecurityContext).

    `supplemental_group_names` are looked up in the image's /etc/group.
    Without a word on AppArmor (None) a container has the runtime's profile where the host can load it.
    """

    privileged: bool = False
    namespaces: Namespaces = Namespaces()
    capabilities: Capabilities = Capabilities()
    user_id: int | None = None
    user_name: str = ""
    group_id: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_group_names: tuple[str, ...] = ()
    supplemental_groups_policy: Literal["merge", "strict"] = "merge"
    readonly_rootfs: bool = False
    no_new_privileges: bool = False
    seccomp: SecurityProfile = SecurityProfile()
    apparmor: SecurityProfile | None = None
    selinux: SelinuxLabel = SelinuxLabel()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()


class DeviceLimit(_Options, frozen=True):
    """A weight, or bytes or operations in a second, of one block device of the host."""

    major: int
    minor: int
    value: int


class BlockLimits(_Options, frozen=True):
    """Of block devices (blkio on cgroup v1, io on v2); a `weight` of 0 is "not asked for"."""

    weight: int = 0
    weights: tuple[DeviceLimit, ...] = ()
    read_bytes: tuple[DeviceLimit, ...] = ()
    write_bytes: tuple[DeviceLimit, ...] = ()
    read_operations: tuple[DeviceLimit, ...] = ()
    write_operations: tuple[DeviceLimit, ...] = ()


class Resources(_Options, frozen=True):
    """Limits; None is "not asked for" (CRI LinuxContainerResources, and what podman has besides).

    `memory_reservation_bytes` is kept when memory is short.
    """

    cpu_period_us: int | None = None
    cpu_quota_us: int | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory_limit_bytes: int | None = None
    memory_swap_limit_bytes: int | None = None
    oom_score_adj: int | None = None
    pids_limit: int | None = None
    hugepage_limits: dict[str, int] = {}
    unified: dict[str, str] = {}
    memory_reservation_bytes: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disabled: bool | None = None
    cpu_realtime_period_us: int | None = None
    cpu_realtime_runtime_us: int | None = None
    block: BlockLimits | None = None


class Dns(_Options, frozen=True):
    """resolv.conf of a pod; all empty means the host's own."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class PortMapping(_Options, frozen=True):
    """A port of the pod on the host: `host_port` 0 is none, `host_ip` "" every address of the host.

    A `shared` host port may be other pods', too, who all say so: connections go to one of them at random.
    """

    container_port: int
    host_port: int = 0
    host_ip: str = ""
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    shared: bool = False


class PortRedirect(_Options, frozen=True):
    """Connections to `port` of a pod come to its port `target`."""

    port: int
    target: int
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"


class NetworkUse(_Options, frozen=True):
    """One network of a pod, by name, and what the pod asks of it; empty values leave the choice to its plugins."""

    name: str
    ips: tuple[str, ...] = ()
    mac: str = ""
    aliases: tuple[str, ...] = ()


class PodOptions(_Options, frozen=True):
    """A pod sandbox (CRI PodSandboxConfig and runtime handler).

    `resources` are those of all its containers together, `overhead` what the sandbox takes beside them.
    `origin` says who made it, so that fronts leave each other's alone.  `networks` are those of
    the machine's own directory in place of the node's; the first gives the address.  A pod that is
    not `connected` has a loopback and nothing else.  `hosts` are further (address,
    name) pairs of /etc/hosts; a `shm_size_bytes` of 0 is the engine's.  `redirects` are in its own network only.
    """

    name: str
    uid: str = ""
    namespace: str = ""
    attempt: int = 0
    hostname: str = ""
    log_directory: str = ""
    dns: Dns = Dns()
    port_mappings: tuple[PortMapping, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    cgroup_parent: str = ""
    sysctls: dict[str, str] = {}
    security: Security = Security()
    resources: Resources = Resources()
    overhead: Resources = Resources()
    runtime_handler: str = ""
    origin: Literal["cri", "local"] = "cri"
    networks: tuple[NetworkUse, ...] = ()
    connected: bool = True
    hosts: tuple[tuple[str, str], ...] = ()
    shm_size_bytes: int = 0
    redirects: tuple[PortRedirect, ...] = ()


class Mount(_Options, frozen=True):
    """A host path, an image's files when `image` is set, or a file system in memory, seen at `container_path`.

    `tmpfs` are tmpfs(5)'s options, as size=64m; None is no such file system.
    """

    container_path: str
    host_path: str = ""
    readonly: bool = False
    recursive_readonly: bool = False
    propagation: Propagation = "private"
    image: str = ""
    image_sub_path: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    selinux_relabel: bool = False
    tmpfs: tuple[str, ...] | None = None


class Rlimit(_Options, frozen=True):
    """getrlimit(2): `name` with RLIMIT_; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Device(_Options, frozen=True):
    """A device of the host in the container; `permissions` are of r, w and m (mknod)."""

    host_path: str
    container_path: str
    permissions: str = "rwm"


class DeviceAccess(_Options, frozen=True):
    """Which devices may be used, whether there is a node or not: type a, b or c; a number of None is any."""

    type: Literal["a", "b", "c"]
    major: int | None = None
    minor: int | None = None
    permissions: str = "rwm"


class ContainerOptions(_Options, frozen=True):
    """A container in a pod (CRI ContainerConfig).

    `unset_env` are names among the image's variables and the usual ones that it shall not have,
    `unset_all_env` leaves all of those out.  `umask` None is the keeper's.  `own_hosts` leaves the image its
    /etc/hosts.  `name_user` gives a user whom the image's /etc/passwd does not know a line there.
    `personality` is LINUX or LINUX32.

    `origin` is the pod's.  A log of `log_limit_bytes` (0: no limit) is rotated by the keeper; one older file is kept.
    """

    name: str
    image: str
    attempt: int = 0
    user_image: str = ""
    image_annotations: dict[str, str] = {}
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = Resources()
    security: Security = Security()
    seccomp_inline: Seccomp | None = None
    stop_signal: str = ""
    rlimits: tuple[Rlimit, ...] = ()
    log_limit_bytes: int = 0
    origin: Literal["cri", "local"] = "cri"
    unset_env: tuple[str, ...] = ()
    unset_all_env: bool = False
    umask: int | None = None
    own_hosts: bool = False
    name_user: bool = False
    personality: str = ""
    device_accesses: tuple[DeviceAccess, ...] = ()


class ExecOptions(_Options, frozen=True):
    """What a further process has in place of the first one's.

    `user` is NAME|UID[:GROUP|GID], looked up in the container; `ids` are (uid, gid) as they are, with no other groups.
    """

    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    user: str = ""
    ids: tuple[int, int] | None = None
    privileged: bool = False


class PodFilter(_Options, frozen=True):
    """All given conditions must hold; `id` may be a prefix."""

    id: str = ""
    state: Literal["", "ready", "notready"] = ""
    origin: Literal["", "cri", "local"] = ""
    labels: dict[str, str] = {}


class ContainerFilter(_Options, frozen=True):
    """Which containers are asked for; what is empty chooses none out. `id` may be the beginning of one."""

    id: str = ""
    pod_id: str = ""
    state: Literal["", "created", "running", "exited", "unknown"] = ""
    origin: Literal["", "cri", "local"] = ""
    labels: dict[str, str] = {}
