"""All documents of a file together → what there is to make.  Pure.

    documents ─► ConfigMaps, Secrets ─► sources of variables and files
                 Services            ─► names and host ports of the pods that they choose
                 Pods, Deployments … ─► pods, each with its volumes

A Service is no thing of its own here: its name is an alias of each pod that it chooses, so that
other pods resolve it to their addresses; its port leads to the target port within each of them, and
its node port is a host port that they share.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from rundlet.engine.options import PortMapping, PortRedirect
from rundlet.errors import AlreadyExists, InvalidArgument
from rundlet.kube.containers import find_port
from rundlet.kube.documents import Document
from rundlet.kube.environment import Sources
from rundlet.kube.fields import list_unknown
from rundlet.kube.model import (
    KINDS,
    Claim,
    ConfigMap,
    Container,
    Meta,
    Pod,
    PodSpec,
    Secret,
    Service,
    ServicePort,
    Workload,
)
from rundlet.kube.volumes import PlannedVolume, plan_volume
from rundlet.spec.base64 import decode_base64
from rundlet.spec.json import convert

_NODE_PORT_FIRST = 30_000  # Kubernetes' range ends at 32767
_DOMAIN = "svc.cluster.local"


class PlannedPod(NamedTuple):
    """`path` is where its spec stands."""

    meta: Meta
    spec: PodSpec
    path: str
    volumes: Mapping[str, PlannedVolume]
    aliases: tuple[str, ...] = ()
    published: tuple[PortMapping, ...] = ()
    redirects: tuple[PortRedirect, ...] = ()


class Play(NamedTuple):
    """`secrets` are those that the file has itself; `warnings` are one line each."""

    pods: tuple[PlannedPod, ...]
    sources: Sources
    secrets: Mapping[str, Mapping[str, bytes]]
    claims: tuple[Claim, ...]
    services: tuple[Service, ...]
    warnings: tuple[str, ...]


def plan_play(
    documents: Sequence[Document],
    config_maps: Sequence[Document] = (),
    kept: Mapping[str, Mapping[str, bytes]] | None = None,
) -> Play:
    """`config_maps` come from other files, `kept` are secrets that this machine has already.

    Raises InvalidArgument with the path of what is wrong, NotFound for a reference that leads nowhere.
    """
    objects = [_read(document) for document in (*config_maps, *documents)]
    _refuse_twins(documents)
    secrets = {one.metadata.name: _secret_values(one) for one in objects if isinstance(one, Secret)}
    sources = Sources(
        {one.metadata.name: _config_values(one) for one in objects if isinstance(one, ConfigMap)},
        dict(kept or {}) | secrets,
    )
    services = tuple(one for one in objects if isinstance(one, Service))
    pods = [_plan(template, sources) for template in list_templates(documents)]
    pods, warnings = _serve(pods, services)
    return Play(
        tuple(pods),
        sources,
        secrets,
        tuple(one for one in objects if isinstance(one, Claim)),
        services,
        (*_warn_unknown(documents), *warnings, *(text for pod in pods for text in _warn_probes(pod))),
    )


def _read(document: Document) -> Any:
    kind = KINDS.get(document.kind)
    if kind is None:
        return None
    return convert(document.raw, kind, document.what)


def _refuse_twins(documents: Sequence[Document]) -> None:
    seen = set()
    for document in documents:
        if document.what in seen:
            raise AlreadyExists(f"{document.what} stands twice in the file")
        seen.add(document.what)


def _warn_unknown(documents: Sequence[Document]) -> list[str]:
    kinds = [document.what for document in documents if document.kind not in KINDS]
    fields = [
        f"{document.what}: {path}"
        for document in documents
        if document.kind in KINDS
        for path in list_unknown(document.raw, KINDS[document.kind])
    ]
    found = []
    if kinds:
        found.append(f"not known here and passed over: {', '.join(kinds)}")
    if fields:
        found.append(f"fields without a meaning here: {', '.join(fields)}")
    return found


def _warn_probes(pod: PlannedPod) -> list[str]:
    return [
        f"{what}.readinessProbe: is not asked, for the livenessProbe is"
        for container, what in list_containers(pod)
        if container.liveness_probe and container.readiness_probe
    ]


def _config_values(one: ConfigMap) -> dict[str, bytes]:
    what = f"ConfigMap {one.metadata.name}.binaryData"
    return {key: value.encode() for key, value in one.data.items()} | _decode_all(one.binary_data, what)


def _secret_values(one: Secret) -> dict[str, bytes]:
    what = f"Secret {one.metadata.name}.data"
    return _decode_all(one.data, what) | {key: value.encode() for key, value in one.string_data.items()}


def _decode_all(values: Mapping[str, str], what: str) -> dict[str, bytes]:
    return {key: decode_base64("".join(value.split()), f"{what}.{key}") for key, value in values.items()}


class Template(NamedTuple):
    """A pod as a document has it; `path` is where its spec stands there."""

    meta: Meta
    spec: PodSpec
    path: str


def list_templates(documents: Sequence[Document]) -> list[Template]:
    """Every pod that the documents ask for, each replica."""
    return [template for document in documents for template in _list_templates(document)]


def _list_templates(document: Document) -> list[Template]:
    one = _read(document)
    if isinstance(one, Pod):
        return [Template(one.metadata, one.spec, f"{document.what}: spec")]
    if not isinstance(one, Workload):
        return []
    template, path = one.spec.template, f"{document.what}: spec.template.spec"
    if document.kind == "Job" and template.spec.restart_policy == "Always":
        raise InvalidArgument(f"{path}.restartPolicy: a Job's is OnFailure or Never")
    names = [f"{document.name}-pod-{number}" for number in range(_count(document, one))]
    space = one.metadata.namespace
    return [
        Template(replace(template.metadata, name=name, namespace=space), template.spec, path)
        for name in names
    ]


def _count(document: Document, one: Workload) -> int:
    if document.kind in ("DaemonSet", "Job"):
        return 1
    if one.spec.replicas < 0:
        raise InvalidArgument(f"{document.what}: spec.replicas: {one.spec.replicas} is less than none")
    return one.spec.replicas


def _plan(template: Template, sources: Sources) -> PlannedPod:
    meta, spec, path = template
    if not spec.containers:
        raise InvalidArgument(f"{path}.containers: a pod has at least one")
    names = [container.name for container in (*spec.containers, *spec.init_containers)]
    if len(set(names)) != len(names):
        raise InvalidArgument(f"{path}.containers: one name stands twice")
    volumes = {
        volume.name: plan_volume(volume, meta.name, sources, f"{path}.volumes[{number}]")
        for number, volume in enumerate(spec.volumes)
    }
    return PlannedPod(meta, spec, path, volumes)


def list_containers(pod: PlannedPod) -> list[tuple[Container, str]]:
    """The init containers, then the others, each with its path in the document."""
    spec = pod.spec
    return [(one, f"{pod.path}.initContainers[{n}]") for n, one in enumerate(spec.init_containers)] + [
        (one, f"{pod.path}.containers[{n}]") for n, one in enumerate(spec.containers)
    ]


# --- services -----------------------------------------------------------------


def _serve(pods: Sequence[PlannedPod], services: Sequence[Service]) -> tuple[list[PlannedPod], list[str]]:
    """The pods with the names and host ports of the services that choose them."""
    served = list(pods)
    warnings = []
    taken = {port.node_port for service in services for port in service.spec.ports if port.node_port}
    for service in services:
        chosen = [n for n, pod in enumerate(served) if _chooses(service, pod)]
        if not chosen:
            warnings.append(f"Service {service.metadata.name}: no pod of this file has its labels")
            continue
        for n in chosen:
            served[n] = served[n]._replace(aliases=(*served[n].aliases, *list_names(service.metadata)))
            for port in service.spec.ports:
                served[n], told = _redirect(service, port, served[n])
                warnings += told
        host_ports = _choose_host_ports(service, taken)
        for n in chosen:
            published = _publish(service, served[n], host_ports, shared=len(chosen) > 1)
            served[n] = served[n]._replace(published=(*served[n].published, *published))
    return served, warnings


def _chooses(service: Service, pod: PlannedPod) -> bool:
    selector = service.spec.selector
    return bool(selector) and all(pod.meta.labels.get(key) == value for key, value in selector.items())


def list_names(meta: Meta) -> tuple[str, ...]:
    """Under which names pods know a service."""
    space = meta.namespace or "default"
    return (meta.name, f"{meta.name}.{space}", f"{meta.name}.{space}.svc", f"{meta.name}.{space}.{_DOMAIN}")


def _redirect(service: Service, port: ServicePort, pod: PlannedPod) -> tuple[PlannedPod, list[str]]:
    """The pod whose port of the service leads to the one that it listens on, and what stands against that."""
    wanted = PortRedirect(port.port, _find_target(service, port, pod), port.protocol.lower())  # type: ignore[arg-type]  # one of three
    if wanted.target == wanted.port or wanted in pod.redirects:
        return pod, []
    what = f"Service {service.metadata.name}: port {port.port} of pod {pod.meta.name}"
    if pod.spec.host_network:
        return pod, [f"{what} is the host's: use its port {wanted.target}"]
    own = {(one.container_port, one.protocol) for each in pod.spec.containers for one in each.ports}
    others = {(one.port, one.protocol) for one in pod.redirects}
    if (port.port, port.protocol) in own or (wanted.port, wanted.protocol) in others:
        return pod, [f"{what} is taken: use its port {wanted.target}"]
    return pod._replace(redirects=(*pod.redirects, wanted)), []


def _find_target(service: Service, port: ServicePort, pod: PlannedPod) -> int:
    if not port.target_port:
        return port.port
    for container in pod.spec.containers:
        named = any(own.name == port.target_port for own in container.ports)
        if named or isinstance(port.target_port, int) or port.target_port.isdecimal():
            return find_port(port.target_port, container, f"Service {service.metadata.name}: targetPort")
    raise InvalidArgument(
        f"Service {service.metadata.name}: targetPort: pod {pod.meta.name} has no port {port.target_port!r}"
    )


def leave_alone(pods: Sequence[PlannedPod]) -> list[PlannedPod]:
    """The pods where host ports cannot be shared: each is the first pod's that has it."""
    taken: set[tuple[int, str]] = set()
    found = []
    for pod in pods:
        kept = [one for one in pod.published if not one.shared or (one.host_port, one.protocol) not in taken]
        taken |= {(one.host_port, one.protocol) for one in kept}
        found.append(pod._replace(published=tuple(replace(one, shared=False) for one in kept)))
    return found


def _choose_host_ports(service: Service, taken: set[int]) -> list[int]:
    """One for each port of a NodePort or LoadBalancer service; none for others."""
    if service.spec.type not in ("NodePort", "LoadBalancer"):
        return []
    found = []
    for port in service.spec.ports:
        host_port = port.node_port
        if not host_port and service.spec.type == "LoadBalancer":
            host_port = port.port
        if not host_port:
            host_port = next(n for n in range(_NODE_PORT_FIRST, 1 << 16) if n not in taken)
        taken.add(host_port)
        found.append(host_port)
    return found


def _publish(
    service: Service, pod: PlannedPod, host_ports: Sequence[int], *, shared: bool
) -> list[PortMapping]:
    """`host_ports` are those of the service's ports, if it has any; `shared`: by several pods."""
    return [
        PortMapping(
            _find_target(service, port, pod),
            host_port,
            protocol=port.protocol.lower(),  # type: ignore[arg-type]  # one of three
            shared=shared,
        )
        for port, host_port in zip(service.spec.ports, host_ports, strict=False)
    ]
