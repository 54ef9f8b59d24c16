"""CRI requests → engine options: pure, and no judge of them; what may not be asked, the engine says.

Refused here is only what the options cannot hold: unknown enum numbers (proto3's are open) and an
environment that is not UTF-8.  proto3 cannot tell 0 or "" from "not given"; where that matters the
function says what it takes.
"""

from typing import Literal

from msgspec.structs import replace

from rundlet.cri import security
from rundlet.cri.choices import choose
from rundlet.cri.proto import api_pb2 as api
from rundlet.engine.options import (
    ContainerFilter,
    ContainerOptions,
    Device,
    Dns,
    Mount,
    PodFilter,
    PodOptions,
    PortMapping,
    Propagation,
    Resources,
)
from rundlet.errors import InvalidArgument

_PROPAGATIONS: dict[int, Propagation] = {
    api.PROPAGATION_PRIVATE: "private",
    api.PROPAGATION_HOST_TO_CONTAINER: "host-to-container",
    api.PROPAGATION_BIDIRECTIONAL: "bidirectional",
}
_PROTOCOLS: dict[int, Literal["tcp", "udp", "sctp"]] = {api.TCP: "tcp", api.UDP: "udp", api.SCTP: "sctp"}
_POD_STATES: dict[int, Literal["ready", "notready"]] = {
    api.SANDBOX_READY: "ready",
    api.SANDBOX_NOTREADY: "notready",
}
_CONTAINER_STATES: dict[int, Literal["created", "running", "exited", "unknown"]] = {
    api.CONTAINER_CREATED: "created",
    api.CONTAINER_RUNNING: "running",
    api.CONTAINER_EXITED: "exited",
    api.CONTAINER_UNKNOWN: "unknown",
}
_SIGNALS = {number: name.removeprefix("SIGNAL_") for name, number in api.Signal.items()}


def pod_options(config: api.PodSandboxConfig, runtime_handler: str = "", path: str = "config") -> PodOptions:
    """A PodSandboxConfig and the handler that RunPodSandbox names beside it."""
    linux, dns = config.linux, config.dns_config
    return PodOptions(
        name=config.metadata.name,
        uid=config.metadata.uid,
        namespace=config.metadata.namespace,
        attempt=config.metadata.attempt,
        hostname=config.hostname,
        log_directory=config.log_directory,
        dns=Dns(tuple(dns.servers), tuple(dns.searches), tuple(dns.options)),
        port_mappings=tuple(
            _port(port, f"{path}.port_mappings[{index}]") for index, port in enumerate(config.port_mappings)
        ),
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        cgroup_parent=linux.cgroup_parent,
        sysctls=dict(linux.sysctls),
        security=security.pod_security(linux.security_context, f"{path}.linux.security_context"),
        resources=resources(linux.resources) if linux.HasField("resources") else Resources(),
        overhead=resources(linux.overhead) if linux.HasField("overhead") else Resources(),
        runtime_handler=runtime_handler,
    )


def _port(message: api.PortMapping, path: str) -> PortMapping:
    """Host port 0 means "not mapped"."""
    return PortMapping(
        container_port=message.container_port,
        host_port=message.host_port,
        host_ip=message.host_ip,
        protocol=choose(_PROTOCOLS, message.protocol, f"{path}.protocol"),
    )


def resources(message: api.LinuxContainerResources) -> Resources:
    """0 and "" mean "not asked for", except for oom_score_adj, where 0 is a value of its own."""
    return Resources(
        cpu_period_us=message.cpu_period or None,
        cpu_quota_us=message.cpu_quota or None,
        cpu_shares=message.cpu_shares or None,
        cpuset_cpus=message.cpuset_cpus,
        cpuset_mems=message.cpuset_mems,
        memory_limit_bytes=message.memory_limit_in_bytes or None,
        memory_swap_limit_bytes=message.memory_swap_limit_in_bytes or None,
        oom_score_adj=message.oom_score_adj,
        hugepage_limits={limit.page_size: limit.limit for limit in message.hugepage_limits},
        unified=dict(message.unified),
    )


def changed_resources(message: api.LinuxContainerResources) -> Resources:
    """Of an update: zeros leave a limit as it is, oom_score_adj's too, which a partial one must not reset."""
    return replace(resources(message), oom_score_adj=message.oom_score_adj or None)


def container_options(config: api.ContainerConfig, path: str = "config") -> ContainerOptions:
    """A ContainerConfig; the image is `image_ref` where the caller resolved it, else `image`."""
    linux = config.linux
    return ContainerOptions(
        name=config.metadata.name,
        attempt=config.metadata.attempt,
        image=config.image.image_ref or config.image.image,
        user_image=config.image.user_specified_image,
        image_annotations=dict(config.image.annotations),
        command=tuple(config.command),
        args=tuple(config.args),
        working_dir=config.working_dir,
        env=tuple(_variable(env, f"{path}.envs[{index}]") for index, env in enumerate(config.envs)),
        mounts=tuple(_mount(mount, f"{path}.mounts[{index}]") for index, mount in enumerate(config.mounts)),
        devices=tuple(map(_device, config.devices)),
        cdi_devices=tuple(device.name for device in config.CDI_devices),
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        log_path=config.log_path,
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.tty,
        resources=resources(linux.resources) if linux.HasField("resources") else Resources(),
        security=security.container_security(linux.security_context, f"{path}.linux.security_context"),
        stop_signal=stop_signal(config.stop_signal, f"{path}.stop_signal"),
    )


def _variable(message: api.KeyValue, path: str) -> tuple[str, str]:
    """The value is bytes on the wire since 1.37; records are JSON, so it must be UTF-8 here."""
    try:
        return message.key, message.value.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}.value: not UTF-8 ({error.reason} at byte {error.start})") from error


def _mount(message: api.Mount, path: str) -> Mount:
    return Mount(
        container_path=message.container_path,
        host_path=message.host_path,
        readonly=message.readonly,
        recursive_readonly=message.recursive_read_only,
        propagation=choose(_PROPAGATIONS, message.propagation, f"{path}.propagation"),
        image=message.image.image_ref or message.image.image,
        image_sub_path=message.image_sub_path,
        options=tuple(message.mount_options),
        uid_mappings=security.id_mappings(message.uidMappings),
        gid_mappings=security.id_mappings(message.gidMappings),
        selinux_relabel=message.selinux_relabel,
    )


def _device(message: api.Device) -> Device:
    """Without a path in the container it is the host's, without permissions it has all."""
    return Device(
        host_path=message.host_path,
        container_path=message.container_path or message.host_path,
        permissions=message.permissions or "rwm",
    )


def stop_signal(number: int, path: str) -> str:
    """SIGNAL_SIGRTMINPLUS3 as "SIGRTMIN+3"; the zero, "runtime's default", is empty."""
    name = choose(_SIGNALS, number, path)
    return "" if number == api.SIGNAL_RUNTIME_DEFAULT else name.replace("PLUS", "+").replace("MINUS", "-")


def pod_filter(message: api.PodSandboxFilter) -> PodFilter:
    return PodFilter(
        id=message.id,
        origin="cri",
        state=choose(_POD_STATES, message.state.state, "filter.state.state")
        if message.HasField("state")
        else "",
        labels=dict(message.label_selector),
    )


def container_filter(message: api.ContainerFilter) -> ContainerFilter:
    has_state = message.HasField("state")
    return ContainerFilter(
        id=message.id,
        origin="cri",
        pod_id=message.pod_sandbox_id,
        state=choose(_CONTAINER_STATES, message.state.state, "filter.state.state") if has_state else "",
        labels=dict(message.label_selector),
    )


def container_stats_filter(message: api.ContainerStatsFilter) -> ContainerFilter:
    return ContainerFilter(
        id=message.id, origin="cri", pod_id=message.pod_sandbox_id, labels=dict(message.label_selector)
    )


def pod_stats_filter(message: api.PodSandboxStatsFilter) -> PodFilter:
    return PodFilter(id=message.id, origin="cri", labels=dict(message.label_selector))
