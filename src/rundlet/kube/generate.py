"""`kube generate`: pods and containers of this machine as Kubernetes' YAML.  Pure but for the looks.

What has no word in Kubernetes is left out; what `kube play` makes of the answer runs alike.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from msgspec.structs import replace

from rundlet.engine.options import PortMapping, Resources
from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.local.machine import Machine
from rundlet.local.options import Confinement, HealthCheck, PodRequest, RunOptions, VolumeMount

_RESTART = {"always": "Always", "unless-stopped": "Always", "on-failure": "OnFailure", "no": "Never"}
_PULL = {"always": "Always", "missing": "IfNotPresent", "newer": "Always", "never": "Never"}
_NODE_PORTS = range(30_000, 32_768)
_PATIENCE_S = 30  # of terminationGracePeriodSeconds
_SHARES_PER_CPU = 1024


class Group(NamedTuple):
    """What becomes one Pod."""

    name: str
    pod: PodRequest
    containers: tuple[RunOptions, ...]


def find_group(machine: Machine, name: str) -> Group:
    """A pod, or a container with a pod of its own.

    Raises NotFound, FailedPrecondition for a container of a pod and for one made over CRI.
    """
    if machine.pods.exists(name):
        found = machine.pods.get(name)
        members = tuple(_asked(machine, member.id) for member in found.members)
        return Group(found.name, found.asked, members)
    container = machine.containers.get(name)
    asked = _asked(machine, container.id)
    if not container.own_pod:
        raise FailedPrecondition(
            f"container {container.name} belongs to pod {container.pod_name}", hint="generate from the pod"
        )
    pod = PodRequest(
        name=container.name,
        hostname=asked.hostname,
        ports=container.ports,
        network=asked.network,
        dns=asked.dns,
        hosts=asked.hosts,
    )
    return Group(container.name, pod, (asked,))


def _asked(machine: Machine, container_id: str) -> RunOptions:
    found = machine.containers.get(container_id)
    if found.asked is None:
        raise FailedPrecondition(f"container {found.name} was made over CRI")
    name = found.name.removeprefix(f"{found.pod_name}-")
    mounts = tuple(_find_kind(machine, mount) for mount in found.asked.mounts)
    return replace(found.asked, name=name, mounts=mounts)


def _find_kind(machine: Machine, mount: VolumeMount) -> VolumeMount:
    """A volume in memory is a tmpfs of the pod, an anonymous one has no name: neither is a claim."""
    if mount.kind != "volume" or not machine.volumes.exists(mount.source):
        return mount
    volume = machine.volumes.get(mount.source)
    if volume.options.get("type") == "tmpfs":
        words = dict(word.partition("=")[::2] for word in volume.options.get("o", "").split(","))
        size = words.get("size", "")
        return replace(mount, kind="tmpfs", size_bytes=int(size) if size.isdecimal() else 0)
    return replace(mount, source="") if volume.anonymous else mount


def generate(groups: Sequence[Group], *, service: bool = False) -> str:
    """The YAML of Pods, with `service` of a NodePort Service for each that publishes ports."""
    documents: list[dict[str, Any]] = []
    for group in groups:
        if not group.containers:
            raise InvalidArgument(f"pod {group.name} has no container", hint="Kubernetes knows no empty pod")
        if service and group.pod.ports:
            documents.append(_describe_service(group))
        documents += [_describe_claim(name) for name in _list_claims(group)]
        documents.append(_describe_pod(group))
    return yaml.safe_dump_all(documents, sort_keys=False)


def _describe_pod(group: Group) -> dict[str, Any]:
    pod = group.pod
    volumes: dict[str, dict[str, Any]] = {}
    containers = [_describe_container(one, volumes) for one in group.containers]
    _place_ports(containers[0], pod.ports)
    spec: dict[str, Any] = {"containers": containers}
    if volumes:
        spec["volumes"] = [{"name": name} | source for name, source in volumes.items()]
    spec["restartPolicy"] = _RESTART[group.containers[0].restart.name]
    extra = {
        "hostname": pod.hostname,
        "hostNetwork": pod.network.mode == "host",
        "shareProcessNamespace": "pid" in pod.share,
        "hostPID": pod.namespaces.pid == "host",
        "hostIPC": pod.namespaces.ipc == "host",
        "hostAliases": [{"ip": ip, "hostnames": [name]} for ip, name in pod.hosts],
        "dnsConfig": _describe_dns(pod),
    }
    first = group.containers[0]
    extra["terminationGracePeriodSeconds"] = _describe_patience(first)
    extra["securityContext"] = _describe_pod_security(pod, first)
    spec |= {key: value for key, value in extra.items() if value}
    labels = pod.labels or {"app": group.name}
    metadata: dict[str, Any] = {"name": group.name, "labels": dict(labels)}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _describe_patience(asked: RunOptions) -> int:
    """0 for what Kubernetes has without a word; its least is a second."""
    patience_s = max(1, math.ceil(asked.stop_timeout_s))
    return patience_s if patience_s != _PATIENCE_S else 0


def _describe_pod_security(pod: PodRequest, first: RunOptions) -> dict[str, Any]:
    groups = [int(group) for group in first.groups if group.isdecimal()]
    found = {
        "sysctls": [{"name": name, "value": value} for name, value in pod.sysctls.items()],
        "supplementalGroups": groups,
    }
    return {key: value for key, value in found.items() if value}


def _describe_dns(pod: PodRequest) -> dict[str, Any]:
    options = [
        {"name": name} | ({"value": value} if value else {})
        for name, _, value in (option.partition(":") for option in pod.dns.options)
    ]
    found = {"nameservers": list(pod.dns.servers), "searches": list(pod.dns.searches), "options": options}
    return {key: value for key, value in found.items() if value}


def _place_ports(container: dict[str, Any], ports: Sequence[PortMapping]) -> None:
    """A pod's ports are the first container's: the network is one."""
    if ports:
        container["ports"] = [_describe_port(port) for port in ports]


def _describe_port(port: PortMapping) -> dict[str, Any]:
    found: dict[str, Any] = {"containerPort": port.container_port, "protocol": port.protocol.upper()}
    if port.host_port and not port.shared:  # a service has it
        found["hostPort"] = port.host_port
    return found | ({"hostIP": port.host_ip} if port.host_ip else {})


def _describe_container(asked: RunOptions, volumes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    mounts = [_describe_mount(mount, volumes) for mount in asked.mounts if mount.kind != "image"]
    found = {
        "name": asked.name,
        "image": asked.image,
        "imagePullPolicy": _PULL[asked.pull] if asked.pull != "missing" else "",
        "command": list(asked.entrypoint or ()),
        "args": list(asked.command),
        "workingDir": asked.workdir,
        "env": [{"name": name, "value": value} for name, value in asked.env],
        "stdin": asked.stdin,
        "tty": asked.tty,
        "resources": _describe_resources(asked.resources),
        "securityContext": _describe_security(asked),
        "volumeMounts": mounts,
        **_describe_probes(asked.health),
    }
    return {key: value for key, value in found.items() if value}


def _describe_mount(mount: VolumeMount, volumes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    match mount.kind:
        case "bind":
            name, source = f"host-{len(volumes)}", {"hostPath": {"path": mount.source}}
        case "tmpfs":
            limit = {"sizeLimit": str(mount.size_bytes)} if mount.size_bytes else {}
            name, source = f"memory-{len(volumes)}", {"emptyDir": {"medium": "Memory"} | limit}
        case _ if not mount.source:
            name, source = f"empty-{len(volumes)}", {"emptyDir": {}}
        case _:
            name, source = mount.source, {"persistentVolumeClaim": {"claimName": mount.source}}
    known = next((key for key, value in volumes.items() if value == source and mount.kind == "bind"), name)
    volumes[known] = source
    found: dict[str, Any] = {"name": known, "mountPath": mount.target}
    return (
        found
        | ({"readOnly": True} if mount.readonly else {})
        | ({"subPath": mount.sub_path} if mount.sub_path else {})
    )


def _list_claims(group: Group) -> list[str]:
    names = (mount.source for one in group.containers for mount in one.mounts if mount.kind == "volume")
    return list(dict.fromkeys(filter(None, names)))


def _describe_claim(name: str) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _describe_resources(limits: Resources) -> dict[str, Any]:
    found: dict[str, str] = {}
    if limits.cpu_quota_us and limits.cpu_quota_us > 0:
        found["cpu"] = f"{limits.cpu_quota_us * 1000 // (limits.cpu_period_us or 100_000)}m"
    if limits.memory_limit_bytes:
        found["memory"] = str(limits.memory_limit_bytes)
    requests = {"cpu": f"{limits.cpu_shares * 1000 // _SHARES_PER_CPU}m"} if limits.cpu_shares else {}
    parts = {"limits": found, "requests": requests}
    return {key: value for key, value in parts.items() if value}


def _describe_security(asked: RunOptions) -> dict[str, Any]:
    confinement = asked.confinement
    user, _, group = asked.user.partition(":")
    capabilities: Mapping[str, Any] = {
        "add": list(confinement.capabilities.add),
        "drop": list(confinement.capabilities.drop),
    }
    found: dict[str, Any] = {
        "privileged": confinement.privileged,
        "readOnlyRootFilesystem": asked.read_only,
        "capabilities": {key: value for key, value in capabilities.items() if value},
    }
    found |= _describe_profiles(confinement)
    found = {key: value for key, value in found.items() if value}
    if confinement.no_new_privileges:
        found["allowPrivilegeEscalation"] = False
    if user.isdecimal():
        found["runAsUser"] = int(user)
        found |= {"runAsGroup": int(group)} if group.isdecimal() else {}
    return found


def _describe_profiles(confinement: Confinement) -> dict[str, Any]:
    """Seccomp and SELinux where they are not the usual ones."""
    seccomp, label = confinement.seccomp, confinement.selinux
    kinds = {"unconfined": {"type": "Unconfined"}, "runtime-default": {}}
    localhost = {"type": "Localhost", "localhostProfile": seccomp.path}
    parts = {"user": label.user, "role": label.role, "type": label.type, "level": label.level}
    return {
        "seccompProfile": kinds.get(seccomp.kind, localhost),
        "seLinuxOptions": {key: value for key, value in parts.items() if value},
        "procMount": "Unmasked" if "ALL" in confinement.unmask else "",
    }


def _describe_probes(check: HealthCheck | None) -> dict[str, Any]:
    if check is None:
        return {}
    main = "livenessProbe" if check.on_failure != "none" else "readinessProbe"
    return {main: _describe_probe(check), "startupProbe": _describe_probe(check.first) if check.first else {}}


def _describe_probe(check: HealthCheck) -> dict[str, Any]:
    found: dict[str, Any] = {
        "periodSeconds": max(1, round(check.interval_s)),
        "timeoutSeconds": max(1, round(check.timeout_s)),
        "failureThreshold": check.retries,
    }
    if check.start_period_s:
        found["initialDelaySeconds"] = round(check.start_period_s)
    if check.command:
        command = ["/bin/sh", "-c", " ".join(check.command)] if check.shell else list(check.command)
        return {"exec": {"command": command}} | found
    kind, _, rest = check.url.partition("://:")
    port, _, path = rest.partition("/")
    if kind == "tcp":
        return {"tcpSocket": {"port": int(port)}} | found
    return {"httpGet": {"port": int(port), "path": f"/{path}"}} | found if kind == "http" else {}


def _describe_service(group: Group) -> dict[str, Any]:
    labels = dict(group.pod.labels or {"app": group.name})
    ports = []
    for port in group.pod.ports:
        one: dict[str, Any] = {
            "name": str(port.container_port),
            "port": port.container_port,
            "targetPort": port.container_port,
            "protocol": port.protocol.upper(),
        }
        ports.append(one | ({"nodePort": port.host_port} if port.host_port in _NODE_PORTS else {}))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": group.name, "labels": labels},
        "spec": {"type": "NodePort", "selector": labels, "ports": ports},
    }
