"""Engine status → CRI messages: pure; one function a message."""

from collections.abc import Iterable, Mapping

from rundlet.cgroup.pressure import Pressure, Stall
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.security import id_mapping_messages, namespaces_message
from rundlet.engine import status
from rundlet.engine.options import ContainerOptions, Mount, PodOptions, Resources
from rundlet.store.images import ImageRecord

_POD_STATES = {"ready": api.SANDBOX_READY, "notready": api.SANDBOX_NOTREADY}
_CONTAINER_STATES = {
    "created": api.CONTAINER_CREATED,
    "running": api.CONTAINER_RUNNING,
    "exited": api.CONTAINER_EXITED,
    "unknown": api.CONTAINER_UNKNOWN,
}
_PROPAGATIONS = {
    "private": api.PROPAGATION_PRIVATE,
    "host-to-container": api.PROPAGATION_HOST_TO_CONTAINER,
    "bidirectional": api.PROPAGATION_BIDIRECTIONAL,
}


def pod_metadata(options: PodOptions) -> api.PodSandboxMetadata:
    return api.PodSandboxMetadata(
        name=options.name, uid=options.uid, namespace=options.namespace, attempt=options.attempt
    )


def pod_message(pod: status.PodStatus) -> api.PodSandbox:
    """A line of ListPodSandbox."""
    return api.PodSandbox(
        id=pod.id,
        metadata=pod_metadata(pod.options),
        state=_POD_STATES[pod.state],
        created_at=pod.created_at_ns,
        labels=pod.options.labels or None,
        annotations=pod.options.annotations or None,
        runtime_handler=pod.runtime_handler,
    )


def pod_status_message(pod: status.PodStatus) -> api.PodSandboxStatus:
    namespaces = api.Namespace(options=namespaces_message(pod.options.security.namespaces))
    return api.PodSandboxStatus(
        id=pod.id,
        metadata=pod_metadata(pod.options),
        state=_POD_STATES[pod.state],
        created_at=pod.created_at_ns,
        network=_network_message(pod.ips),
        linux=api.LinuxPodSandboxStatus(namespaces=namespaces),
        labels=pod.options.labels,
        annotations=pod.options.annotations,
        runtime_handler=pod.runtime_handler,
    )


def _network_message(ips: tuple[str, ...]) -> api.PodSandboxNetworkStatus:
    """The first address is the pod's, the rest are additional ones."""
    return api.PodSandboxNetworkStatus(
        ip=ips[0] if ips else "", additional_ips=[api.PodIP(ip=ip) for ip in ips[1:]]
    )


def _image_spec(options: ContainerOptions) -> api.ImageSpec:
    return api.ImageSpec(
        image=options.image, user_specified_image=options.user_image, annotations=options.image_annotations
    )


def _container_metadata(options: ContainerOptions) -> api.ContainerMetadata:
    return api.ContainerMetadata(name=options.name, attempt=options.attempt)


def container_message(container: status.ContainerStatus) -> api.Container:
    """A line of ListContainers; a list of hundreds is asked for every second, so nothing is built to be copied."""
    options = container.options
    message = api.Container(
        id=container.id,
        pod_sandbox_id=container.pod_id,
        image_ref=container.image_ref,
        image_id=container.image_id,
        state=_CONTAINER_STATES[container.state],
        created_at=container.created_at_ns,
        labels=options.labels or None,
        annotations=options.annotations or None,
    )
    message.metadata.name, message.metadata.attempt = options.name, options.attempt
    message.image.image, message.image.user_specified_image = options.image, options.user_image
    message.image.annotations.update(options.image_annotations)
    return message


def container_status_message(container: status.ContainerStatus) -> api.ContainerStatus:
    return api.ContainerStatus(
        id=container.id,
        metadata=_container_metadata(container.options),
        state=_CONTAINER_STATES[container.state],
        created_at=container.created_at_ns,
        started_at=container.started_at_ns,
        finished_at=container.finished_at_ns,
        exit_code=container.exit_code or 0,
        image=_image_spec(container.options),
        image_ref=container.image_ref,
        image_id=container.image_id,
        reason=container.reason,
        message=container.message,
        labels=container.options.labels,
        annotations=container.options.annotations,
        mounts=[
            mount_message(mount, container.volumes.get(mount.container_path, ""))
            for mount in container.options.mounts
        ],
        log_path=container.log_path,
        resources=api.ContainerResources(linux=resources_message(container.options.resources)),
        user=_user_message(container.user),
        stop_signal=signal_name(container.stop_signal),
    )


def _user_message(user: status.UserStatus) -> api.ContainerUser:
    linux = api.LinuxContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.supplemental_groups)
    return api.ContainerUser(linux=linux)


def mount_message(mount: Mount, image_ref: str = "") -> api.Mount:
    """`image_ref` is the exact image of an image volume."""
    return api.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.readonly,
        recursive_read_only=mount.recursive_readonly,
        propagation=_PROPAGATIONS[mount.propagation],
        image=api.ImageSpec(image=mount.image, image_ref=image_ref) if mount.image else None,
        image_sub_path=mount.image_sub_path,
        mount_options=mount.options,
        uidMappings=id_mapping_messages(mount.uid_mappings),
        gidMappings=id_mapping_messages(mount.gid_mappings),
        selinux_relabel=mount.selinux_relabel,
    )


def resources_message(resources: Resources) -> api.LinuxContainerResources:
    """None, "not asked for", is proto3's zero."""
    return api.LinuxContainerResources(
        cpu_period=resources.cpu_period_us or 0,
        cpu_quota=resources.cpu_quota_us or 0,
        cpu_shares=resources.cpu_shares or 0,
        cpuset_cpus=resources.cpuset_cpus,
        cpuset_mems=resources.cpuset_mems,
        memory_limit_in_bytes=resources.memory_limit_bytes or 0,
        memory_swap_limit_in_bytes=resources.memory_swap_limit_bytes or 0,
        oom_score_adj=resources.oom_score_adj or 0,
        hugepage_limits=[
            api.HugepageLimit(page_size=size, limit=limit)
            for size, limit in resources.hugepage_limits.items()
        ],
        unified=resources.unified,
    )


def signal_name(name: str) -> str:
    """SIGRTMIN+3 as its enum value's name; what the enum lacks is "runtime's default"."""
    value = "SIGNAL_" + name.replace("+", "PLUS").replace("-", "MINUS")
    return value if value in api.Signal.DESCRIPTOR.values_by_name else "SIGNAL_RUNTIME_DEFAULT"


def image_message(image: ImageRecord, annotations: Mapping[str, str]) -> api.Image:
    """`annotations` are the manifest's.  The user that the image names, as a number or as a name; CRI wants one of the two."""
    user = image.config.config.user.partition(":")[0]
    uid = int(user or 0) if not user or user.isdecimal() else None
    return api.Image(
        id=image.id,
        repo_tags=image.names,
        repo_digests=image.digests,
        size=image.size_bytes,
        uid=None if uid is None else api.Int64Value(value=uid),
        username=user if uid is None else "",
        spec=api.ImageSpec(image=image.id, annotations=annotations),
        pinned=image.pinned,
    )


def _number(value: int) -> api.UInt64Value:
    return api.UInt64Value(value=max(value, 0))


def filesystem_message(usage: status.FilesystemUsage) -> api.FilesystemUsage:
    return api.FilesystemUsage(
        timestamp=usage.timestamp_ns,
        fs_id=api.FilesystemIdentifier(mountpoint=usage.mountpoint),
        used_bytes=_number(usage.used_bytes),
        inodes_used=_number(usage.inodes_used),
    )


def _cpu_message(cpu: status.CpuStats) -> api.CpuUsage:
    return api.CpuUsage(
        timestamp=cpu.timestamp_ns,
        usage_core_nano_seconds=_number(cpu.usage_ns),
        usage_nano_cores=_number(cpu.usage_nanocores),
        psi=_pressure_message(cpu.pressure),
    )


def _memory_message(memory: status.MemoryStats) -> api.MemoryUsage:
    return api.MemoryUsage(
        timestamp=memory.timestamp_ns,
        working_set_bytes=_number(memory.working_set_bytes),
        available_bytes=_number(memory.available_bytes),
        usage_bytes=_number(memory.usage_bytes),
        rss_bytes=_number(memory.rss_bytes),
        page_faults=_number(memory.page_faults),
        major_page_faults=_number(memory.major_page_faults),
        psi=_pressure_message(memory.pressure),
    )


def _io_message(io: status.IoStats | None) -> api.IoUsage | None:
    return api.IoUsage(timestamp=io.timestamp_ns, psi=_pressure_message(io.pressure)) if io else None


def _pressure_message(pressure: Pressure | None) -> api.PsiStats | None:
    if pressure is None:
        return None
    return api.PsiStats(Full=_stall_message(pressure.full), Some=_stall_message(pressure.some))


def _stall_message(stall: Stall) -> api.PsiData:
    """The total as the kernel has it, as other runtimes and the kubelet pass it on: microseconds."""
    return api.PsiData(Total=stall.total_us, Avg10=stall.avg10, Avg60=stall.avg60, Avg300=stall.avg300)


def _swap_message(memory: status.MemoryStats) -> api.SwapUsage:
    return api.SwapUsage(
        timestamp=memory.timestamp_ns,
        swap_available_bytes=_number(memory.swap_available_bytes),
        swap_usage_bytes=_number(memory.swap_usage_bytes),
    )


def container_stats_message(stats: status.ContainerStats) -> api.ContainerStats:
    container = stats.container
    return api.ContainerStats(
        attributes=api.ContainerAttributes(
            id=container.id,
            metadata=_container_metadata(container.options),
            labels=container.options.labels,
            annotations=container.options.annotations,
        ),
        cpu=_cpu_message(stats.cpu),
        memory=_memory_message(stats.memory),
        writable_layer=filesystem_message(stats.writable_layer),
        swap=_swap_message(stats.memory),
        io=_io_message(stats.io),
    )


def _interface_message(interface: status.InterfaceStats) -> api.NetworkInterfaceUsage:
    return api.NetworkInterfaceUsage(
        name=interface.name,
        rx_bytes=_number(interface.rx_bytes),
        rx_errors=_number(interface.rx_errors),
        tx_bytes=_number(interface.tx_bytes),
        tx_errors=_number(interface.tx_errors),
    )


def _traffic_message(interfaces: Iterable[status.InterfaceStats], timestamp_ns: int) -> api.NetworkUsage:
    """eth0 is the default interface, as CNI calls the first one of a pod."""
    messages = [_interface_message(interface) for interface in interfaces]
    first = next((message for message in messages if message.name == "eth0"), None)
    return api.NetworkUsage(
        timestamp=timestamp_ns,
        default_interface=first,
        interfaces=[message for message in messages if message is not first],
    )


def pod_stats_message(stats: status.PodStats) -> api.PodSandboxStats:
    timestamp_ns = stats.cpu.timestamp_ns
    return api.PodSandboxStats(
        attributes=api.PodSandboxAttributes(
            id=stats.pod.id,
            metadata=pod_metadata(stats.pod.options),
            labels=stats.pod.options.labels,
            annotations=stats.pod.options.annotations,
        ),
        linux=api.LinuxPodSandboxStats(
            cpu=_cpu_message(stats.cpu),
            memory=_memory_message(stats.memory),
            network=_traffic_message(stats.interfaces, timestamp_ns),
            process=api.ProcessUsage(timestamp=timestamp_ns, process_count=_number(stats.pids)),
            containers=[container_stats_message(container) for container in stats.containers],
            io=_io_message(stats.io),
        ),
    )


def condition_message(condition: status.Condition) -> api.RuntimeCondition:
    return api.RuntimeCondition(
        type=condition.type, status=condition.status, reason=condition.reason, message=condition.message
    )


def handler_message(handler: status.HandlerStatus) -> api.RuntimeHandler:
    return api.RuntimeHandler(
        name=handler.name,
        features=api.RuntimeHandlerFeatures(
            recursive_read_only_mounts=handler.recursive_readonly_mounts,
            user_namespaces=handler.user_namespaces,
        ),
    )
