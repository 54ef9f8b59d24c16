"""What a pod's options come to: host name, namespaces, networks, name servers.  Pure."""

import os

from msgspec.structs import replace

from rundlet.engine.options import NetworkUse, PodOptions
from rundlet.network.pod import Attached, HostPort, Membership, PodNetwork

_SHORT_ID_DIGITS = 12


def with_resolvers(options: PodOptions, attached: Attached, *, is_rootless: bool) -> PodOptions:
    """An ordinary user's pod reaches the host's name servers by the network's own, unless it names others."""
    servers = attached.result.dns.nameservers
    if not (is_rootless and servers) or options.dns.servers:
        return options
    return replace(options, dns=replace(options.dns, servers=servers))


def choose_hostname(pod_id: str, options: PodOptions) -> str:
    if options.hostname:
        return options.hostname
    if "node" in (options.security.namespaces.network, options.security.namespaces.uts):
        return os.uname().nodename
    return pod_id[:_SHORT_ID_DIGITS]


def choose_kinds(options: PodOptions) -> tuple[str, ...]:
    """Namespaces of the pod's own; the host name follows the network, as in Kubernetes."""
    namespaces = options.security.namespaces
    kinds = ["net"] if namespaces.network == "pod" else []
    kinds += ["uts"] if namespaces.network == namespaces.uts == "pod" else []
    kinds += ["ipc"] if namespaces.ipc == "pod" else []
    kinds += ["pid"] if namespaces.pid == "pod" else []
    return tuple(kinds)


def plan_network(pod_id: str, options: PodOptions) -> PodNetwork:
    mappings = (mapping for mapping in options.port_mappings if mapping.host_port)
    ports = tuple(HostPort(m.host_port, m.container_port, m.protocol, m.host_ip, m.shared) for m in mappings)
    dns = {"servers": options.dns.servers, "searches": options.dns.searches, "options": options.dns.options}
    return PodNetwork(
        pod_id,
        options.name,
        options.namespace,
        options.uid,
        ports,
        annotations=options.annotations,
        capabilities={"dns": dns} if any(dns.values()) else {},
        only=tuple(map(plan_membership, options.networks)),
    )


def plan_membership(use: NetworkUse) -> Membership:
    wanted = {"ips": list(use.ips), "mac": use.mac, "aliases": list(use.aliases)}
    return Membership(use.name, capabilities={name: value for name, value in wanted.items() if value})
