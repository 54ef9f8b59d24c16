"""OCI runtime-spec 1.2/1.3: config.json and the state document, Linux fields.

Section names in comments are those of the specification's config.md and
config-linux.md.  All byte counts are bytes, all CPU times are microseconds, as
the specification has them.
"""

from __future__ import annotations

from rundlet.spec.model import Int32, Int64, Model, Uint16, Uint32, Uint64, UserId


# config.md#root
class Root(Model):
    path: str
    readonly: bool = False


class IdMapping(Model):
    json_names = {"container_id": "containerID", "host_id": "hostID"}
    container_id: Uint32
    host_id: Uint32
    size: Uint32


# config.md#mounts
class Mount(Model):
    destination: str
    source: str = ""
    type: str = ""
    options: list[str] | None = None
    uid_mappings: list[IdMapping] | None = None
    gid_mappings: list[IdMapping] | None = None


# config.md#process
class ConsoleSize(Model):
    height: Uint16
    width: Uint16


class User(Model):
    uid: UserId = 0
    gid: UserId = 0
    umask: Uint32 | None = None
    additional_gids: list[UserId] | None = None


class Capabilities(Model):
    bounding: list[str] | None = None
    effective: list[str] | None = None
    inheritable: list[str] | None = None
    permitted: list[str] | None = None
    ambient: list[str] | None = None


class Rlimit(Model):
    type: str
    soft: Uint64
    hard: Uint64


class Scheduler(Model):
    policy: str
    nice: Int32 = 0
    priority: Int32 = 0
    flags: list[str] | None = None
    runtime: Uint64 = 0
    deadline: Uint64 = 0
    period: Uint64 = 0


class IoPriority(Model):
    json_names = {"class_": "class"}
    class_: str
    priority: Int32 = 0


class CpuAffinity(Model):
    initial: str = ""
    final: str = ""


class Process(Model):
    json_names = {"exec_cpu_affinity": "execCPUAffinity"}
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
    exec_cpu_affinity: CpuAffinity | None = None


# config.md#posix-platform-hooks
class Hook(Model):
    path: str
    args: list[str] | None = None
    env: list[str] | None = None
    timeout: int | None = None


class Hooks(Model):
    prestart: list[Hook] | None = None
    create_runtime: list[Hook] | None = None
    create_container: list[Hook] | None = None
    start_container: list[Hook] | None = None
    poststart: list[Hook] | None = None
    poststop: list[Hook] | None = None


# config-linux.md#namespaces
class Namespace(Model):
    type: str
    path: str = ""


class TimeOffset(Model):
    secs: Int64 = 0
    nanosecs: Uint32 = 0


# config-linux.md#devices
class Device(Model):
    type: str
    path: str
    major: Int64 = 0
    minor: Int64 = 0
    file_mode: Uint32 | None = None
    uid: UserId | None = None
    gid: UserId | None = None


class NetDevice(Model):
    name: str = ""


# config-linux.md#control-groups
class DeviceRule(Model):
    allow: bool
    type: str = ""
    major: Int64 | None = None
    minor: Int64 | None = None
    access: str = ""


class Memory(Model):
    json_names = {"kernel_tcp": "kernelTCP", "disable_oom_killer": "disableOOMKiller"}
    limit: Int64 | None = None
    reservation: Int64 | None = None
    swap: Int64 | None = None
    kernel: Int64 | None = None
    kernel_tcp: Int64 | None = None
    swappiness: Uint64 | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Model):
    shares: Uint64 | None = None
    quota: Int64 | None = None
    burst: Uint64 | None = None
    period: Uint64 | None = None
    realtime_runtime: Int64 | None = None
    realtime_period: Uint64 | None = None
    cpus: str = ""
    mems: str = ""
    idle: Int64 | None = None


class WeightDevice(Model):
    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None


class ThrottleDevice(Model):
    major: Int64
    minor: Int64
    rate: Uint64


class BlockIo(Model):
    json_names = {
        "throttle_read_iops_device": "throttleReadIOPSDevice",
        "throttle_write_iops_device": "throttleWriteIOPSDevice",
    }
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None
    weight_device: list[WeightDevice] | None = None
    throttle_read_bps_device: list[ThrottleDevice] | None = None
    throttle_write_bps_device: list[ThrottleDevice] | None = None
    throttle_read_iops_device: list[ThrottleDevice] | None = None
    throttle_write_iops_device: list[ThrottleDevice] | None = None


class HugepageLimit(Model):
    page_size: str
    limit: Uint64


class InterfacePriority(Model):
    name: str
    priority: Uint32


class NetworkClass(Model):
    json_names = {"class_id": "classID"}
    class_id: Uint32 | None = None
    priorities: list[InterfacePriority] | None = None


class Pids(Model):
    limit: Int64


class Rdma(Model):
    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None


class Resources(Model):
    json_names = {"block_io": "blockIO"}
    devices: list[DeviceRule] | None = None
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = None
    hugepage_limits: list[HugepageLimit] | None = None
    network: NetworkClass | None = None
    rdma: dict[str, Rdma] | None = None
    unified: dict[str, str] | None = None


# config-linux.md#seccomp
class SeccompArg(Model):
    index: Uint32
    value: Uint64
    op: str
    value_two: Uint64 = 0


class SeccompSyscall(Model):
    names: list[str]
    action: str
    errno_ret: Uint32 | None = None
    args: list[SeccompArg] | None = None


class Seccomp(Model):
    default_action: str
    default_errno_ret: Uint32 | None = None
    architectures: list[str] | None = None
    flags: list[str] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: list[SeccompSyscall] | None = None


class Personality(Model):
    domain: str
    flags: list[str] | None = None


class IntelRdt(Model):
    json_names = {"clos_id": "closID"}
    clos_id: str = ""
    schemata: list[str] | None = None
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class MemoryPolicy(Model):
    mode: str
    nodes: str = ""
    flags: list[str] | None = None


class Linux(Model):
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
class RuntimeConfig(Model):
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
class State(Model):
    omit_defaults = False
    oci_version: str
    id: str
    status: str
    pid: int
    bundle: str
    annotations: dict[str, str] | None = None
