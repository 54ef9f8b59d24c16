"""What the engine answers: the state of pods, containers, images and the node.

Values only; times are nanoseconds since the epoch, 0 for "not yet".
"""

from typing import Literal

from msgspec import Struct

from rundlet.cgroup.pressure import Pressure
from rundlet.engine.options import ContainerOptions, PodOptions


class _Status(Struct, frozen=True):
    """Immutable snapshot of one object at one moment."""


class PodStatus(_Status, frozen=True):
    """A pod sandbox; `ips` are none while it is not ready, `netns_path` is "" in the host's network."""

    id: str
    options: PodOptions
    state: Literal["ready", "notready"]
    created_at_ns: int
    ips: tuple[str, ...]
    netns_path: str
    runtime_handler: str


class UserStatus(_Status, frozen=True):
    """The identity that the first process really got."""

    uid: int
    gid: int
    supplemental_groups: tuple[int, ...]


class ContainerStatus(_Status, frozen=True):
    """`exit_code` is None until exited; `reason` as CRI has it (Completed, Error, OOMKilled …).

    `lives` counts how often it was made ready to start.
    """

    id: str
    pod_id: str
    options: ContainerOptions
    state: Literal["created", "running", "exited", "unknown"]
    created_at_ns: int
    started_at_ns: int
    finished_at_ns: int
    exit_code: int | None
    reason: str
    message: str
    image_id: str
    image_ref: str
    log_path: str
    pid: int
    user: UserStatus
    stop_signal: str
    runtime_handler: str
    volumes: dict[str, str] = {}
    lives: int = 1


class ExecResult(_Status, frozen=True):
    """What a program in a container wrote, and its exit code (128 + N when signal N ended it)."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class CpuStats(_Status, frozen=True):
    """Time used since the beginning, and billionths of a core of late (0 before the second look)."""

    timestamp_ns: int
    usage_ns: int
    usage_nanocores: int
    pressure: Pressure | None = None


class MemoryStats(_Status, frozen=True):
    """As cgroup and kubelet count; `available_bytes` is what the limit leaves, 0 without a limit."""

    timestamp_ns: int
    working_set_bytes: int
    available_bytes: int
    usage_bytes: int
    rss_bytes: int
    page_faults: int
    major_page_faults: int
    swap_usage_bytes: int
    swap_available_bytes: int
    pressure: Pressure | None = None


class IoStats(_Status, frozen=True):
    """Pressure of block devices, where the kernel tells it."""

    timestamp_ns: int
    pressure: Pressure


class FilesystemUsage(_Status, frozen=True):
    """What lies on the file system at `mountpoint` for one purpose."""

    timestamp_ns: int
    mountpoint: str
    used_bytes: int
    inodes_used: int


class ContainerStats(_Status, frozen=True):
    """What a container uses now."""

    container: ContainerStatus
    cpu: CpuStats
    memory: MemoryStats
    pids: int
    writable_layer: FilesystemUsage
    io: IoStats | None = None


class InterfaceStats(_Status, frozen=True):
    """Counters of one interface of a pod, since it was made."""

    name: str
    rx_bytes: int
    rx_errors: int
    tx_bytes: int
    tx_errors: int
    rx_packets: int = 0
    rx_dropped: int = 0
    tx_packets: int = 0
    tx_dropped: int = 0


class PodStats(_Status, frozen=True):
    """What a pod uses now, its containers included."""

    pod: PodStatus
    cpu: CpuStats
    memory: MemoryStats
    pids: int
    interfaces: tuple[InterfaceStats, ...]
    containers: tuple[ContainerStats, ...]
    io: IoStats | None = None


class Condition(_Status, frozen=True):
    """RuntimeReady or NetworkReady; reason and message are empty when it holds."""

    type: str
    status: bool
    reason: str
    message: str


class HandlerStatus(_Status, frozen=True):
    """A runtime handler and what it can do (CRI's RuntimeHandlerFeatures)."""

    name: str
    recursive_readonly_mounts: bool
    user_namespaces: bool


class NodeStatus(_Status, frozen=True):
    """The three abilities are CRI's RuntimeFeatures."""

    conditions: tuple[Condition, ...]
    handlers: tuple[HandlerStatus, ...]
    supplemental_groups_policy: bool
    user_namespaces_host_network: bool
    mount_options: bool
    info: dict[str, str]
