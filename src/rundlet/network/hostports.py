"""The nftables table of host ports: one a node, one element a mapping.

    table inet rundlet-hostports {
        map any4 { proto . port : pod address . port }               the same for IPv6: any6, at6 …
        map at4  { host address . proto . port : pod address . port }
        map many4 …                                            ports that pods share: `sharedports`
        set pods4 { pod address . proto . pod port . host port }
        set near4 { subnet . subnet; interval }
        chain prerouting  { nat hook prerouting dstnat; fib daddr type local jump hostports }
        chain output      { nat hook output dstnat;     fib daddr type local jump hostports }
        chain hostports   { dnat to ip daddr . proto . dport map @at4
                            dnat to proto . dport map @any4 }
        chain postrouting { nat hook postrouting srcnat; ct status dnat
            ip daddr . proto . dport . ct original proto-dst @pods4
                ip saddr 127.0.0.0/8 masquerade
                ip saddr . ip daddr @near4 masquerade }
        chain loopback    { filter hook input filter;
            iifname != lo ip daddr 127.0.0.0/8 ct status & dnat == 0 drop } }

A pod answers its neighbours on the bridge directly, past the translation, hence
the masquerading of what a subnet sends to itself (`near`).  Connections to
127.0.0.1 leave the host with that source, so it is masqueraded too, and the
bridge must route it (route_localnet); chain `loopback` keeps the neighbours from
using that to reach what listens on the host's loopback only (CVE-2020-8558).
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from rundlet.errors import InvalidArgument
from rundlet.netlink import expression, nftables, nftset
from rundlet.netlink.address import IpAddress, IpInterface
from rundlet.netlink.message import Request
from rundlet.netlink.nftset import ADDRESS, PORT, PROTOCOL, Element, SetPlan
from rundlet.network import sharedports
from rundlet.network.sharedports import TABLE

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
_JUMP = "hostports"


class PortMapping(
    Struct,
    frozen=True,
    rename={"host_port": "hostPort", "container_port": "containerPort", "host_ip": "hostIP"},
):
    """One member of the portMappings capability; `shared` is ours: other pods may have the host port, too."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    shared: bool = False

    @property
    def transport(self) -> str:
        return self.protocol.lower()


class Entry(NamedTuple):
    """One element of the map called `map`; `port` says for people which host port it is about."""

    map: str
    element: Element
    port: str = ""


def plan_entries(mappings: Iterable[PortMapping], ips: Sequence[IpInterface], tag: str) -> list[Entry]:
    """The map elements of a pod; InvalidArgument for a mapping that cannot be."""
    found = []
    for mapping in mappings:
        port = mapping.container_port.to_bytes(4, "big")[2:]
        for entry in plan_keys([mapping]):
            for ip in ips:
                if ip.version == version_of(entry.map):
                    target = expression.concatenate([ip.packed, port])
                    found.append(entry._replace(element=Element(entry.element.key, target, tag)))
    return found


def plan_keys(mappings: Iterable[PortMapping]) -> list[Entry]:
    """Where the elements of these mappings are, if they are, whatever the pod's addresses."""
    return [
        _plan_key(mapping, host, version)
        for mapping in mappings
        for host in (_parse_host(mapping),)
        for version in (4, 6)
        if host is None or host.version == version
    ]


def _plan_key(mapping: PortMapping, host: IpAddress | None, version: int) -> Entry:
    fields = [bytes([PROTOCOLS[mapping.transport]]), mapping.host_port.to_bytes(2, "big")]
    name = f"any{version}"
    if host is not None and not host.is_unspecified:
        fields.insert(0, host.packed)
        name = f"at{version}"
    port = f"{mapping.host_port}/{mapping.transport}" + (f" of {host}" if host else "")
    return Entry(name, Element(expression.concatenate(fields)), port)


def plan_requests(
    entries: Iterable[Entry], ask: Callable[[str, str, Sequence[Element]], Request]
) -> list[Request]:
    """`ask` once for each map, with its elements, and for the set of pods that goes with it."""
    found: dict[str, list[Element]] = {}
    for entry in entries:
        found.setdefault(entry.map, []).append(entry.element)
        found.setdefault(f"pods{version_of(entry.map)}", []).append(pods_element(entry.element))
    return [ask(TABLE, name, elements) for name, elements in found.items()]


def pods_element(element: Element) -> Element:
    """Key … proto . host port, value pod address . port → pod address . proto . port . host port."""
    address, port = element.value[:-4], element.value[-4:]
    return Element(address + element.key[-8:-4] + port + element.key[-4:], comment=element.comment)


def version_of(name: str) -> int:
    return int(name[-1])


def _parse_host(mapping: PortMapping) -> IpAddress | None:
    """The host's address, None for any of both families."""
    for port in (mapping.host_port, mapping.container_port):
        if not 0 < port < 1 << 16:
            raise InvalidArgument(f"port mapping: {port} is not a port number")
    if mapping.transport not in PROTOCOLS:
        raise InvalidArgument(
            f"port mapping: {mapping.protocol!r} is not a protocol", hint=f"{', '.join(PROTOCOLS)} are"
        )
    try:
        return ipaddress.ip_address(mapping.host_ip) if mapping.host_ip else None
    except ValueError as error:
        raise InvalidArgument(f"port mapping: hostIP: {error}") from error


def plan_subnets(ips: Iterable[IpInterface]) -> list[tuple[str, Element]]:
    """The elements of `near`, which pods of a subnet share."""
    found = []
    for ip in ips:
        first, last = ip.network.network_address.packed, ip.network.broadcast_address.packed
        found.append((f"near{ip.version}", Element(first * 2, key_end=last * 2)))
    return found


def map_names() -> tuple[str, ...]:
    """Where mappings are, one element each; those that are shared are elsewhere."""
    return tuple(f"{kind}{version}" for version in (4, 6) for kind in ("any", "at"))


def plan_table() -> list[Request]:
    """The table, empty."""
    chains = [
        (chain, nftables.Hook(kind, number, priority))
        for chain, kind, number, priority in (
            ("prerouting", "nat", nftables.PREROUTING, nftables.PRIORITY_DESTINATION_NAT),
            ("output", "nat", nftables.OUTPUT, nftables.PRIORITY_DESTINATION_NAT),
            ("postrouting", "nat", nftables.POSTROUTING, nftables.PRIORITY_SOURCE_NAT),
            ("loopback", "filter", nftables.INPUT, nftables.PRIORITY_FILTER),
        )
    ]
    return [
        nftables.new_table(TABLE, "host ports of pods"),
        *(nftset.new_set(TABLE, plan) for version in (4, 6) for plan in _plan_sets(version)),
        nftables.new_chain(TABLE, _JUMP),
        *(nftables.new_chain(TABLE, chain, hook) for chain, hook in chains),
        *(nftables.new_rule(TABLE, chain, rule) for chain, rule in _plan_rules()),
    ]


def _plan_sets(version: int) -> list[SetPlan]:
    ip = ADDRESS[version]
    return [
        SetPlan(f"any{version}", (PROTOCOL, PORT), data=(ip, PORT)),
        SetPlan(f"at{version}", (ip, PROTOCOL, PORT), data=(ip, PORT)),
        SetPlan(f"pods{version}", (ip, PROTOCOL, PORT, PORT)),
        SetPlan(f"near{version}", (ip, ip), interval=True),
        sharedports.plan_set(version),
    ]


def _plan_rules() -> list[tuple[str, tuple[bytes, ...]]]:
    to_hostports = (*expression.match_local_destination(), expression.jump(_JUMP))
    guard = (
        *expression.match_version(4),
        *expression.match_other_input("lo"),
        *expression.match_destination(_LOOPBACK),
        *expression.match_translated(False),
        expression.drop(),
    )
    rules = [("prerouting", to_hostports), ("output", to_hostports), ("loopback", guard)]
    for version in (4, 6):
        rules += [(_JUMP, rule) for rule in _translations(version)]
        rules += [("postrouting", rule) for rule in _masquerades(version)]
    return rules


def _translations(version: int) -> list[tuple[bytes, ...]]:
    after = expression.address_registers(version)
    at = (
        expression.load_destination(version),
        expression.load_protocol(after),
        expression.load_destination_port(after + 1),
        expression.look_up(f"at{version}", into=0),
    )
    anywhere = (
        expression.load_protocol(),
        expression.load_destination_port(1),
        expression.look_up(f"any{version}", into=0),
    )
    verdict = expression.translate_destination(version)
    single = [(*expression.match_version(version), *match, verdict) for match in (at, anywhere)]
    return [*single, sharedports.plan_rule(version)]


def _masquerades(version: int) -> list[tuple[bytes, ...]]:
    after = expression.address_registers(version)
    to_pod = (
        *expression.match_version(version),
        *expression.match_translated(),
        expression.load_destination(version),
        expression.load_protocol(after),
        expression.load_destination_port(after + 1),
        expression.load_original_port(after + 2),
        expression.look_up(f"pods{version}"),
    )
    near = (
        expression.load_source(version),
        expression.load_destination(version, after),
        expression.look_up(f"near{version}"),
    )
    sources: list[tuple[bytes, ...]] = [near]
    if version == 4:  # ::1 never leaves the host: IPv6 has no route_localnet
        sources.append(expression.match_source(_LOOPBACK))
    return [(*to_pod, *source, *expression.masquerade()) for source in sources]
