"""OCI runtime-spec 1.2/1.3: config.json and the state document, Linux fields.

Section names in comments are those of the specification's config.md and
config-linux.md.  All byte counts are bytes, all CPU times are microseconds, as
the specification has them.
"""

from msgspec import Struct, field


class _Model(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Immutable, camelCase in JSON, fields equal to their default are left out."""


# config.md#root
class Root(_Model, frozen=True):
    path: str
    readonly: bool = False


class IdMapping(_Model, frozen=True, rename={"container_id": "containerID", "host_id": "hostID"}):
    container_id: int
    host_id: int
    size: int


# config.md#mounts
class Mount(_Model, frozen=True):
    destination: str
    source: str = ""
    type: str = ""
    options: list[str] | None = None
    uid_mappings: list[IdMapping] | None = None
    gid_mappings: list[IdMapping] | None = None


# config.md#process
class ConsoleSize(_Model, frozen=True):
    height: int
    width: int


class User(_Model, frozen=True):
    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: list[int] | None = None


class Capabilities(_Model, frozen=True):
    bounding: list[str] | None = None
    effective: list[str] | None = None
    inheritable: list[str] | None = None
    permitted: list[str] | None = None
    ambient: list[str] | None = None


class Rlimit(_Model, frozen=True):
    type: str
    soft: int
    hard: int


class Scheduler(_Model, frozen=True):
    policy: str
    nice: int = 0
    priority: int = 0
    flags: list[str] | None = None
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IoPriority(_Model, frozen=True):
    class_: str = field(name="class")
    priority: int = 0


class CpuAffinity(_Model, frozen=True):
    initial: str = ""
    final: str = ""


class Process(_Model, frozen=True):
    cwd: str
    args: list[str] | None = None
    env: list[str] | None = None
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: list[Rlimit] | None = None
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    exec_cpu_affinity: CpuAffinity | None = field(name="execCPUAffinity", default=None)


# config.md#posix-platform-hooks
class Hook(_Model, frozen=True):
    path: str
    args: list[str] | None = None
    env: list[str] | None = None
    timeout: int | None = None


class Hooks(_Model, frozen=True):
    prestart: list[Hook] | None = None
    create_runtime: list[Hook] | None = None
    create_container: list[Hook] | None = None
    start_container: list[Hook] | None = None
    poststart: list[Hook] | None = None
    poststop: list[Hook] | None = None


# config-linux.md#namespaces
class Namespace(_Model, frozen=True):
    type: str
    path: str = ""


class TimeOffset(_Model, frozen=True):
    secs: int = 0
    nanosecs: int = 0


# config-linux.md#devices
class Device(_Model, frozen=True):
    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class NetDevice(_Model, frozen=True):
    name: str = ""


# config-linux.md#control-groups
class DeviceRule(_Model, frozen=True):
    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(_Model, frozen=True):
    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = field(name="kernelTCP", default=None)
    swappiness: int | None = None
    disable_oom_killer: bool | None = field(name="disableOOMKiller", default=None)
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(_Model, frozen=True):
    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class WeightDevice(_Model, frozen=True):
    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(_Model, frozen=True):
    major: int
    minor: int
    rate: int


class BlockIo(_Model, frozen=True):
    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: list[WeightDevice] | None = None
    throttle_read_bps_device: list[ThrottleDevice] | None = None
    throttle_write_bps_device: list[ThrottleDevice] | None = None
    throttle_read_iops_device: list[ThrottleDevice] | None = field(
        name="throttleReadIOPSDevice", default=None
    )
    throttle_write_iops_device: list[ThrottleDevice] | None = field(
        name="throttleWriteIOPSDevice", default=None
    )


class HugepageLimit(_Model, frozen=True):
    page_size: str
    limit: int


class InterfacePriority(_Model, frozen=True):
    name: str
    priority: int


class NetworkClass(_Model, frozen=True):
    class_id: int | None = field(name="classID", default=None)
    priorities: list[InterfacePriority] | None = None


class Pids(_Model, frozen=True):
    limit: int


class Rdma(_Model, frozen=True):
    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(_Model, frozen=True):
    devices: list[DeviceRule] | None = None
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = field(name="blockIO", default=None)
    hugepage_limits: list[HugepageLimit] | None = None
    network: NetworkClass | None = None
    rdma: dict[str, Rdma] | None = None
    unified: dict[str, str] | None = None


# config-linux.md#seccomp
class SeccompArg(_Model, frozen=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class SeccompSyscall(_Model, frozen=True):
    names: list[str]
    action: str
    errno_ret: int | None = None
    args: list[SeccompArg] | None = None


class Seccomp(_Model, frozen=True):
    default_action: str
    default_errno_ret: int | None = None
    architectures: list[str] | None = None
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[SeccompSyscall] | None = None


class Personality(_Model, frozen=True):
    domain: str
    flags: list[str] | None = None


class IntelRdt(_Model, frozen=True):
    clos_id: str = field(name="closID", default="")
    schemata: list[str] | None = None
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class MemoryPolicy(_Model, frozen=True):
    mode: str
    nodes: str = ""
    flags: list[str] | None = None


class Linux(_Model, frozen=True):
    namespaces: list[Namespace] | None = None
    uid_mappings: list[IdMapping] | None = None
    gid_mappings: list[IdMapping] | None = None
    time_offsets: dict[str, TimeOffset] | None = None
    devices: list[Device] | None = None
    net_devices: dict[str, NetDevice] | None = None
    cgroups_path: str = ""
    resources: Resources | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    sysctl: dict[str, str] | None = None
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    mount_label: str = ""
    personality: Personality | None = None


# config.md
class RuntimeConfig(_Model, frozen=True):
    oci_version: str
    root: Root | None = None
    mounts: list[Mount] | None = None
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    hooks: Hooks | None = None
    annotations: dict[str, str] | None = None
    linux: Linux | None = None


# runtime.md#state
class State(_Model, frozen=True, omit_defaults=False):
    oci_version: str
    id: str
    status: str
    pid: int
    bundle: str
    annotations: dict[str, str] | None = None
