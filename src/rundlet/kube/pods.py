"""A pod → what `local` is asked.  Pure."""

from collections.abc import Sequence

from rundlet.engine.options import Dns, PortMapping, PortRedirect
from rundlet.kube.model import Meta, PodSpec, Port
from rundlet.local.options import Namespaces, NetworkChoice, PodRequest

_PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


def plan_pod(
    meta: Meta,
    spec: PodSpec,
    networks: Sequence[str],
    aliases: Sequence[str] = (),
    published: Sequence[PortMapping] = (),
    redirects: Sequence[PortRedirect] = (),
) -> PodRequest:
    """`aliases` are the services that it is behind, `published` the host ports that those have, `redirects` their ports."""
    ports = [
        plan_port(port) for container in (*spec.containers, *spec.init_containers) for port in container.ports
    ]
    share = ("ipc", "net", "uts", *(("pid",) if spec.share_process_namespace else ()))
    return PodRequest(
        name=meta.name,
        hostname=spec.hostname or ("" if spec.host_network else meta.name),
        labels=meta.labels,
        annotations=meta.annotations,
        ports=() if spec.host_network else _join_ports(ports, published),
        network=NetworkChoice(mode="host")
        if spec.host_network
        else NetworkChoice(mode="bridge", names=tuple(networks), aliases=tuple(aliases)),
        dns=plan_dns(spec),
        hosts=tuple((alias.ip, name) for alias in spec.host_aliases for name in alias.hostnames),
        share=share,
        sysctls={sysctl.name: sysctl.value for sysctl in spec.security_context.sysctls},
        namespaces=Namespaces(pid="host" if spec.host_pid else "", ipc="host" if spec.host_ipc else ""),
        runtime_handler=spec.runtime_class_name,
        redirects=tuple(redirects),
    )


def _join_ports(ports: Sequence[PortMapping], published: Sequence[PortMapping]) -> tuple[PortMapping, ...]:
    """A node port that is the container's host port, too, is one mapping."""
    return tuple(dict.fromkeys((*(port for port in ports if port.host_port), *published)))


def plan_port(port: Port) -> PortMapping:
    """host_port 0 where none is asked for."""
    protocol = _PROTOCOLS[port.protocol]
    return PortMapping(port.container_port, port.host_port, port.host_ip, protocol)  # type: ignore[arg-type]  # one of three


def plan_dns(spec: PodSpec) -> Dns:
    options = tuple(
        f"{option.name}:{option.value}" if option.value else option.name for option in spec.dns_config.options
    )
    return Dns(spec.dns_config.nameservers, spec.dns_config.searches, options)
