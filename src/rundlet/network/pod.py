"""What the network needs to know of a pod, and what that means for plugins."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.network.call import pod_ips
from rundlet.spec.cni import NetworkConf, Result

IFNAME = "eth0"

# The Network Plumbing Working Group's annotation: further networks by name.
NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks"
# Kubernetes: rates in bits per second, "1M" and "10Mi" alike.
_BANDWIDTH_ANNOTATIONS = {
    "ingress": "kubernetes.io/ingress-bandwidth",
    "egress": "kubernetes.io/egress-bandwidth",
}
_QUANTITY = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<suffix>[kKMGT]i?|)")
_EVERYWHERE = ("0.0.0.0/0", "::/0")
_POWERS = "kMGT"
# As CRI-O and containerd: no limit on what may go at once but the type's.
_BURST_MAX_BITS = (1 << 32) - 1

_SIMPLE_NETWORK = re.compile(r"(?:[a-z0-9.-]+/)?(?P<name>[A-Za-z0-9][\w.-]*)(?:@(?P<ifname>[\w.-]{1,15}))?")


class PodNetns(NamedTuple):
    """A pod's network namespace; the file descriptors stay the caller's.

    `route_fd` is a NETLINK_ROUTE socket made inside the namespace, -1 when
    there is none (one is then made).
    """

    path: str
    netns_fd: int
    route_fd: int = -1


class HostPort(NamedTuple):
    """Traffic to `host_port` of `host_ip` ("" is any) goes to the pod's `container_port`; `shared`: or to other pods'."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    shared: bool = False


class Membership(NamedTuple):
    """A network of the machine's own by name, and what the pod wants there.

    `ifname` "" is the next of eth0, eth1 …; `capabilities` as in PodNetwork, of this network alone.
    """

    network: str
    ifname: str = ""
    capabilities: Mapping[str, Any] = {}


class PodNetwork(NamedTuple):
    """What the network needs to know of a pod; `port_mappings` with host_port 0 ask for nothing.

    `networks` are further networks by name, with the interface's name behind an
    "@" if it matters; the annotation k8s.v1.cni.cncf.io/networks says the same.
    `capabilities` are values by the names of CNI's conventions (ips, mac, dns,
    ipRanges, aliases, bandwidth …) for the plugins that declare them.
    `only` are the pod's networks in place of the node's; the first gives the address.
    """

    pod_id: str
    name: str
    namespace: str
    uid: str
    port_mappings: tuple[HostPort, ...] = ()
    annotations: Mapping[str, str] = {}
    networks: tuple[str, ...] = ()
    capabilities: Mapping[str, Any] = {}
    only: tuple[Membership, ...] = ()


class Choice(NamedTuple):
    """A network that a pod is put on: its interface there, and what plugins are told of the pod."""

    network: NetworkConf
    ifname: str
    capabilities: dict[str, Any]


class Link(NamedTuple):
    """A pod's end of one attachment; `ips` without prefix length, `gateways` beside them ("" where none)."""

    network: str
    ifname: str
    ips: tuple[str, ...]
    prefix_lengths: tuple[int, ...]
    gateways: tuple[str, ...]
    mac: str


class Attached(NamedTuple):
    """`ips` are the pod's addresses without prefix length, the primary first; of its first network.

    `others` are the results of further networks, in the order in which they were asked for.
    """

    ips: tuple[str, ...]
    result: Result
    others: tuple[Result, ...] = ()


class Wanted(NamedTuple):
    """A further network and the interface on it."""

    network: str
    ifname: str


def plan_networks(pod: PodNetwork) -> list[Wanted]:
    """The further networks of a pod; InvalidArgument for what is not the simple form."""
    texts = list(pod.networks)
    texts += [
        text.strip() for text in pod.annotations.get(NETWORKS_ANNOTATION, "").split(",") if text.strip()
    ]
    found = []
    for number, text in enumerate(texts, 1):
        parsed = _SIMPLE_NETWORK.fullmatch(text)
        if parsed is None:
            raise InvalidArgument(
                f"network {text!r}: expected a name, or name@interface",
                hint=f"annotation {NETWORKS_ANNOTATION} is understood in its simple form only",
            )
        found.append(Wanted(parsed["name"], parsed["ifname"] or f"net{number}"))
    names = [IFNAME, *(wanted.ifname for wanted in found)]
    if len(set(names)) != len(names):
        raise InvalidArgument(f"networks of pod {pod.name}: one interface is asked for twice")
    return found


def plan_memberships(pod: PodNetwork, find: Callable[[str], NetworkConf]) -> list[Choice]:
    """The networks of `pod.only`; host ports and the default route are those of the first.

    InvalidArgument for a network or an interface that is asked for twice.
    """
    found = []
    for number, wanted in enumerate(pod.only):
        network = find(wanted.network)
        capabilities = plan_further_capabilities(pod) if number else plan_capabilities(network, pod)
        if number:
            network = without_default_route(network)
        found.append(
            Choice(network, wanted.ifname or f"eth{number}", capabilities | dict(wanted.capabilities))
        )
    for what, names in (
        ("network", [choice.network.name for choice in found]),
        ("interface", [choice.ifname for choice in found]),
    ):
        if len(set(names)) != len(names):
            raise InvalidArgument(f"networks of pod {pod.name}: one {what} is asked for twice")
    return found


def without_default_route(network: NetworkConf) -> NetworkConf:
    """The network for whoever has a default route elsewhere."""
    plugins = []
    for plugin in network.plugins:
        raw = {key: value for key, value in plugin.raw.items() if key != "isDefaultGateway"}
        ipam = raw.get("ipam")
        if isinstance(ipam, dict) and "routes" in ipam:
            routes = [route for route in ipam["routes"] if route.get("dst") not in _EVERYWHERE]
            raw["ipam"] = ipam | {"routes": routes}
        plugins.append(plugin._replace(raw=raw))
    return network._replace(plugins=tuple(plugins))


def describe_link(network: str, ifname: str, result: Result) -> Link:
    """What the pod has on one network, of the result of its ADD."""
    ips = pod_ips(result)
    own = [ipaddress.ip_interface(ip.address) for ip in ips]
    macs = [one.mac for one in result.interfaces if one.sandbox and one.name == ifname]
    return Link(
        network,
        ifname,
        tuple(str(ip.ip) for ip in own),
        tuple(ip.network.prefixlen for ip in own),
        tuple(ip.gateway for ip in ips),
        macs[0] if macs else "",
    )


def plan_capabilities(network: NetworkConf, pod: PodNetwork) -> dict[str, Any]:
    """Values by capability name (CNI CONVENTIONS.md), for those plugins that declare it.

    FailedPrecondition when host ports are asked for and no plugin maps ports.
    """
    found: dict[str, Any] = dict(pod.capabilities)
    mappings = [_port_mapping(port) for port in pod.port_mappings if port.host_port]
    if mappings:
        found["portMappings"] = mappings
        if not any(plugin.capabilities.get("portMappings") for plugin in network.plugins):
            raise FailedPrecondition(
                f"host port {mappings[0]['hostPort']}: network {network.name} has no plugin that maps ports",
                hint='add {"type": "portmap", "capabilities": {"portMappings": true}} to its plugins',
            )
    bandwidth = _plan_bandwidth(pod.annotations)
    if bandwidth:
        found.setdefault("bandwidth", bandwidth)
    if pod.annotations:
        found["io.kubernetes.cri.pod-annotations"] = dict(pod.annotations)
    return found


def plan_further_capabilities(pod: PodNetwork) -> dict[str, Any]:
    """For further networks: host ports, addresses and so on are the first one's."""
    return {"io.kubernetes.cri.pod-annotations": dict(pod.annotations)} if pod.annotations else {}


def _plan_bandwidth(annotations: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for direction, name in _BANDWIDTH_ANNOTATIONS.items():
        if name in annotations:
            found[f"{direction}Rate"] = parse_quantity(annotations[name], name)
            found[f"{direction}Burst"] = _BURST_MAX_BITS
    return found


def parse_quantity(text: str, what: str) -> int:
    """A Kubernetes quantity: a number, with k M G T as powers of 1000 or Ki Mi Gi Ti of 1024."""
    parsed = _QUANTITY.fullmatch(text)
    if parsed is None:
        raise InvalidArgument(f"{what}: {text!r} is not a quantity", hint="as 10M or 512Ki")
    suffix = parsed["suffix"].replace("K", "k")
    power = _POWERS.index(suffix[0]) + 1 if suffix else 0
    return int(float(parsed["number"]) * (1024 if suffix.endswith("i") else 1000) ** power)


def _port_mapping(port: HostPort) -> dict[str, Any]:
    return {
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol.lower(),
        "hostIP": port.host_ip,
    } | ({"shared": True} if port.shared else {})


def plan_args(pod: PodNetwork) -> tuple[tuple[str, str], ...]:
    """CNI_ARGS as Kubernetes' runtimes give them."""
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", pod.pod_id),
        ("K8S_POD_UID", pod.uid),
    )
