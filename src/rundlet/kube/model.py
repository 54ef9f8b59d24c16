"""The parts of Kubernetes' objects that mean something on one machine (core/v1, apps/v1, batch/v1), by their own names.

What is not here is not known: `fields.list_unknown` names it in one warning.
"""

from typing import Any, Literal

from msgspec import Struct, field

IntOrString = int | str


class _Model(Struct, frozen=True, rename="camel", omit_defaults=True):
    pass


class Meta(_Model, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class KeyRef(_Model, frozen=True):
    name: str = ""
    key: str = ""
    optional: bool = False


class FieldRef(_Model, frozen=True):
    field_path: str
    api_version: str = ""


class ResourceRef(_Model, frozen=True):
    resource: str
    container_name: str = ""
    divisor: IntOrString = "1"


class ValueFrom(_Model, frozen=True):
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceRef | None = None


class EnvVar(_Model, frozen=True):
    name: str
    value: str | int | float | bool = ""
    value_from: ValueFrom | None = None


class SourceRef(_Model, frozen=True):
    name: str = ""
    optional: bool = False


class EnvFrom(_Model, frozen=True):
    prefix: str = ""
    config_map_ref: SourceRef | None = None
    secret_ref: SourceRef | None = None


class Port(_Model, frozen=True):
    container_port: int
    host_port: int = 0
    host_ip: str = field(name="hostIP", default="")
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class Mount(_Model, frozen=True):
    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] = "Disabled"


class Requirements(_Model, frozen=True):
    limits: dict[str, IntOrString | float] = {}
    requests: dict[str, IntOrString | float] = {}


class CapabilityChange(_Model, frozen=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SeccompChoice(_Model, frozen=True):
    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    localhost_profile: str = ""


class SelinuxOptions(_Model, frozen=True):
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""


class Sysctl(_Model, frozen=True):
    name: str
    value: str


class PodSecurity(_Model, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    fs_group: int | None = None
    sysctls: tuple[Sysctl, ...] = ()
    seccomp_profile: SeccompChoice | None = None
    se_linux_options: SelinuxOptions | None = field(name="seLinuxOptions", default=None)


class ContainerSecurity(_Model, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool = False
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool = True
    capabilities: CapabilityChange = CapabilityChange()
    seccomp_profile: SeccompChoice | None = None
    se_linux_options: SelinuxOptions | None = field(name="seLinuxOptions", default=None)
    proc_mount: Literal["Default", "Unmasked"] = "Default"


class ExecAction(_Model, frozen=True):
    command: tuple[str, ...] = ()


class HttpHeader(_Model, frozen=True):
    name: str
    value: str


class HttpAction(_Model, frozen=True):
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpAction(_Model, frozen=True):
    port: IntOrString
    host: str = ""


class Probe(_Model, frozen=True):
    exec: ExecAction | None = None
    http_get: HttpAction | None = None
    tcp_socket: TcpAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    failure_threshold: int = 3
    success_threshold: int = 1


class Container(_Model, frozen=True):
    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[Port, ...] = ()
    volume_mounts: tuple[Mount, ...] = ()
    resources: Requirements = Requirements()
    security_context: ContainerSecurity = ContainerSecurity()
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    restart_policy: Literal["Always"] | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = ""
    termination_message_policy: str = ""


class KeyToPath(_Model, frozen=True):
    key: str
    path: str
    mode: int | None = None


class HostPath(_Model, frozen=True):
    path: str
    type: Literal[
        "",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
        "CharDevice",
        "BlockDevice",
    ] = ""


class EmptyDir(_Model, frozen=True):
    medium: Literal["", "Memory"] = ""
    size_limit: IntOrString = ""


class ConfigMapFiles(_Model, frozen=True):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = 0o644
    optional: bool = False


class SecretFiles(_Model, frozen=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = 0o644
    optional: bool = False


class ClaimRef(_Model, frozen=True):
    claim_name: str
    read_only: bool = False


class Volume(_Model, frozen=True):
    name: str
    host_path: HostPath | None = None
    empty_dir: EmptyDir | None = None
    config_map: ConfigMapFiles | None = None
    secret: SecretFiles | None = None
    persistent_volume_claim: ClaimRef | None = None


class HostAlias(_Model, frozen=True):
    ip: str
    hostnames: tuple[str, ...] = ()


class DnsOption(_Model, frozen=True):
    name: str
    value: str = ""


class DnsConfig(_Model, frozen=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class PodSpec(_Model, frozen=True):
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"
    hostname: str = ""
    host_network: bool = False
    host_pid: bool = field(name="hostPID", default=False)
    host_ipc: bool = field(name="hostIPC", default=False)
    share_process_namespace: bool = False
    host_aliases: tuple[HostAlias, ...] = ()
    dns_config: DnsConfig = DnsConfig()
    dns_policy: str = ""
    security_context: PodSecurity = PodSecurity()
    termination_grace_period_seconds: int = 30
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    enable_service_links: bool | None = None
    runtime_class_name: str = ""


class Pod(_Model, frozen=True):
    metadata: Meta
    spec: PodSpec


class Template(_Model, frozen=True):
    spec: PodSpec
    metadata: Meta = Meta()


class Selector(_Model, frozen=True):
    match_labels: dict[str, str] = {}


class WorkloadSpec(_Model, frozen=True):
    """Of a Deployment, a DaemonSet and a Job."""

    template: Template
    replicas: int = 1
    selector: Selector = Selector()
    strategy: dict[str, Any] = {}
    revision_history_limit: int = 0
    backoff_limit: int = 6
    completions: int = 1
    parallelism: int = 1


class Workload(_Model, frozen=True):
    metadata: Meta
    spec: WorkloadSpec


class ConfigMap(_Model, frozen=True):
    metadata: Meta
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool = False


class Secret(_Model, frozen=True):
    metadata: Meta
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    type: str = ""
    immutable: bool = False


class ClaimSpec(_Model, frozen=True):
    access_modes: tuple[str, ...] = ()
    resources: Requirements = Requirements()
    storage_class_name: str = ""
    volume_mode: str = ""
    volume_name: str = ""


class Claim(_Model, frozen=True):
    metadata: Meta
    spec: ClaimSpec = ClaimSpec()


class ServicePort(_Model, frozen=True):
    port: int
    target_port: IntOrString = 0
    node_port: int = 0
    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    app_protocol: str = ""


class ServiceSpec(_Model, frozen=True):
    selector: dict[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: str = field(name="clusterIP", default="")
    external_name: str = ""
    session_affinity: str = ""


class Service(_Model, frozen=True):
    metadata: Meta
    spec: ServiceSpec


KINDS: dict[str, type[Struct]] = {
    "Pod": Pod,
    "Deployment": Workload,
    "ReplicaSet": Workload,
    "StatefulSet": Workload,
    "DaemonSet": Workload,
    "Job": Workload,
    "ConfigMap": ConfigMap,
    "Secret": Secret,
    "PersistentVolumeClaim": Claim,
    "Service": Service,
}
