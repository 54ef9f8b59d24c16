"""CRI requests → engine options: pure, and suspicious of everything.

protobuf has checked field types only.  Unknown enum numbers, empty names,
relative paths, values out of range and what rundlet lacks are refused here with
the path of the field, before the engine sees them.  proto3 cannot tell 0 or ""
from "not given"; where that matters the function says what it takes.

SELinux labels and Windows fields are ignored, as on any host without them.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from rundlet.cri import security
from rundlet.cri.checks import (
    check_absolute,
    check_address,
    check_range,
    check_relative,
    check_text,
    choose,
    require_absolute,
    require_text,
)
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
    linux = config.linux
    return PodOptions(
        name=require_text(config.metadata.name, f"{path}.metadata.name"),
        uid=check_text(config.metadata.uid, f"{path}.metadata.uid"),
        namespace=check_text(config.metadata.namespace, f"{path}.metadata.namespace"),
        attempt=config.metadata.attempt,
        hostname=check_text(config.hostname, f"{path}.hostname"),
        log_directory=check_absolute(config.log_directory, f"{path}.log_directory"),
        dns=_dns(config.dns_config, f"{path}.dns_config"),
        port_mappings=tuple(
            _port(port, f"{path}.port_mappings[{index}]") for index, port in enumerate(config.port_mappings)
        ),
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        cgroup_parent=check_text(linux.cgroup_parent, f"{path}.linux.cgroup_parent"),
        sysctls=_map(linux.sysctls, f"{path}.linux.sysctls"),
        security=security.pod_security(linux.security_context, f"{path}.linux.security_context"),
        resources=_given_resources(linux, f"{path}.linux.resources"),
        runtime_handler=runtime_handler,
    )


def _dns(message: api.DNSConfig, path: str) -> Dns:
    return Dns(
        servers=_lines(message.servers, f"{path}.servers"),
        searches=_lines(message.searches, f"{path}.searches"),
        options=_lines(message.options, f"{path}.options"),
    )


def _lines(values: Iterable[str], path: str) -> tuple[str, ...]:
    """Words of resolv.conf: a line break in one would write lines of the caller's choice."""
    for index, value in enumerate(values):
        if not value or len(value.split()) != 1 or value != value.strip():
            raise InvalidArgument(f"{path}[{index}]: must be one word, got {value!r}")
    return tuple(values)


def _port(message: api.PortMapping, path: str) -> PortMapping:
    """Host port 0 means "not mapped"."""
    return PortMapping(
        container_port=check_range(message.container_port, 0, 65535, f"{path}.container_port"),
        host_port=check_range(message.host_port, 0, 65535, f"{path}.host_port"),
        host_ip=check_address(message.host_ip, f"{path}.host_ip"),
        protocol=choose(_PROTOCOLS, message.protocol, f"{path}.protocol"),
    )


def _map(values: Mapping[str, str], path: str) -> dict[str, str]:
    return {
        require_text(key, f"{path} key"): check_text(value, f"{path}[{key!r}]")
        for key, value in values.items()
    }


def _given_resources(linux: api.LinuxPodSandboxConfig | api.LinuxContainerConfig, path: str) -> Resources:
    return resources(linux.resources, path) if linux.HasField("resources") else Resources()


def resources(message: api.LinuxContainerResources, path: str) -> Resources:
    """0 and "" mean "not asked for", except for oom_score_adj, where 0 is a value of its own."""
    return Resources(
        cpu_period_us=message.cpu_period or None,
        cpu_quota_us=message.cpu_quota or None,
        cpu_shares=message.cpu_shares or None,
        cpuset_cpus=check_text(message.cpuset_cpus, f"{path}.cpuset_cpus"),
        cpuset_mems=check_text(message.cpuset_mems, f"{path}.cpuset_mems"),
        memory_limit_bytes=message.memory_limit_in_bytes or None,
        memory_swap_limit_bytes=message.memory_swap_limit_in_bytes or None,
        oom_score_adj=check_range(message.oom_score_adj, -1000, 1000, f"{path}.oom_score_adj"),
        hugepage_limits=_hugepages(message.hugepage_limits, f"{path}.hugepage_limits"),
        unified=_map(message.unified, f"{path}.unified"),
    )


def _hugepages(limits: Iterable[api.HugepageLimit], path: str) -> dict[str, int]:
    return {
        require_text(limit.page_size, f"{path}[{index}].page_size"): limit.limit
        for index, limit in enumerate(limits)
    }


def container_options(config: api.ContainerConfig, path: str = "config") -> ContainerOptions:
    """A ContainerConfig; the image is `image_ref` where the caller resolved it, else `image`."""
    linux = config.linux
    return ContainerOptions(
        name=require_text(config.metadata.name, f"{path}.metadata.name"),
        attempt=config.metadata.attempt,
        image=require_text(config.image.image_ref or config.image.image, f"{path}.image.image"),
        user_image=config.image.user_specified_image,
        command=_arguments(config.command, f"{path}.command"),
        args=_arguments(config.args, f"{path}.args"),
        working_dir=check_text(config.working_dir, f"{path}.working_dir"),
        env=tuple(_variable(env, f"{path}.envs[{index}]") for index, env in enumerate(config.envs)),
        mounts=tuple(_mount(mount, f"{path}.mounts[{index}]") for index, mount in enumerate(config.mounts)),
        devices=tuple(
            _device(device, f"{path}.devices[{index}]") for index, device in enumerate(config.devices)
        ),
        cdi_devices=tuple(device.name for device in config.CDI_devices),
        labels=dict(config.labels),
        annotations=dict(config.annotations),
        log_path=check_relative(config.log_path, f"{path}.log_path"),
        stdin=config.stdin,
        stdin_once=config.stdin_once,
        tty=config.tty,
        resources=_given_resources(linux, f"{path}.linux.resources"),
        security=security.container_security(linux.security_context, f"{path}.linux.security_context"),
        stop_signal=stop_signal(config.stop_signal, f"{path}.stop_signal"),
    )


def _arguments(values: Iterable[str], path: str) -> tuple[str, ...]:
    return tuple(check_text(value, f"{path}[{index}]") for index, value in enumerate(values))


def _variable(message: api.KeyValue, path: str) -> tuple[str, str]:
    """The value is bytes on the wire since 1.37; records are JSON, so it must be UTF-8 here."""
    key = require_text(message.key, f"{path}.key")
    if "=" in key:
        raise InvalidArgument(f"{path}.key: contains '=': {key!r}")
    try:
        return key, check_text(message.value.decode(), f"{path}.value")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}.value: not UTF-8 ({error.reason} at byte {error.start})") from error


def _mount(message: api.Mount, path: str) -> Mount:
    """Either a host path or an image; symbolic links and existence are the engine's matter."""
    image = message.image.image_ref or message.image.image
    if bool(image) == bool(message.host_path):
        raise InvalidArgument(f"{path}: needs either host_path or image")
    return Mount(
        container_path=require_absolute(message.container_path, f"{path}.container_path"),
        host_path=check_absolute(message.host_path, f"{path}.host_path"),
        readonly=message.readonly,
        recursive_readonly=message.recursive_read_only,
        propagation=choose(_PROPAGATIONS, message.propagation, f"{path}.propagation"),
        image=image,
        image_sub_path=check_relative(message.image_sub_path, f"{path}.image_sub_path"),
        options=_arguments(message.mount_options, f"{path}.mount_options"),
        uid_mappings=security.id_mappings(message.uidMappings),
        gid_mappings=security.id_mappings(message.gidMappings),
    )


def _device(message: api.Device, path: str) -> Device:
    if not set(message.permissions) <= set("rwm"):
        raise InvalidArgument(f"{path}.permissions: must be made of r, w and m, got {message.permissions!r}")
    host_path = require_absolute(message.host_path, f"{path}.host_path")
    return Device(
        host_path=host_path,
        container_path=check_absolute(message.container_path, f"{path}.container_path") or host_path,
        permissions=message.permissions or "rwm",
    )


def stop_signal(number: int, path: str) -> str:
    """SIGNAL_SIGRTMINPLUS3 as "SIGRTMIN+3"; the zero, "runtime's default", is empty."""
    name = choose(_SIGNALS, number, path)
    return "" if number == api.SIGNAL_RUNTIME_DEFAULT else name.replace("PLUS", "+").replace("MINUS", "-")


def pod_filter(message: api.PodSandboxFilter) -> PodFilter:
    return PodFilter(
        id=message.id,
        state=choose(_POD_STATES, message.state.state, "filter.state.state")
        if message.HasField("state")
        else "",
        labels=dict(message.label_selector),
    )


def container_filter(message: api.ContainerFilter) -> ContainerFilter:
    has_state = message.HasField("state")
    return ContainerFilter(
        id=message.id,
        pod_id=message.pod_sandbox_id,
        state=choose(_CONTAINER_STATES, message.state.state, "filter.state.state") if has_state else "",
        labels=dict(message.label_selector),
    )


def container_stats_filter(message: api.ContainerStatsFilter) -> ContainerFilter:
    return ContainerFilter(id=message.id, pod_id=message.pod_sandbox_id, labels=dict(message.label_selector))


def pod_stats_filter(message: api.PodSandboxStatsFilter) -> PodFilter:
    return PodFilter(id=message.id, labels=dict(message.label_selector))
