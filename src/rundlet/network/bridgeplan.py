"""bridge's configuration and what it means: gateways, routes, and what an existing bridge lacks."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import structs

from rundlet.errors import FailedPrecondition, InvalidArgument, Unimplemented
from rundlet.netlink import address, link
from rundlet.netlink.address import Address, IpInterface
from rundlet.netlink.link import Link
from rundlet.netlink.message import Request
from rundlet.network.call import Call
from rundlet.network.podlink import MacRequest, check_mac
from rundlet.spec import json
from rundlet.spec.cni import Dns, IpConfig, Result, Route
from rundlet.spec.document import drop_nulls

_EXTERNAL_HINT = "leave bridge out of the built-in plugins to use the plugin program"


class BridgeConf(MacRequest, frozen=True, rename="camel"):
    """The reference plugin's options; those after `port_isolation` are refused when set."""

    bridge: str = "cni0"
    is_gateway: bool = False
    is_default_gateway: bool = False
    force_address: bool = False
    ip_masq: bool = False
    ip_masq_backend: str = "nftables"
    mtu: int = 0
    hairpin_mode: bool = False
    promisc_mode: bool = False
    port_isolation: bool = False
    vlan: int = 0
    vlan_trunk: tuple[Any, ...] = ()
    macspoofchk: bool = False
    enabledad: bool = False
    disable_container_interface: bool = False
    ipam: dict[str, Any] = {}
    dns: Dns = Dns()


_UNSUPPORTED = {
    "vlan": "vlan",
    "vlanTrunk": "vlan_trunk",
    "macspoofchk": "macspoofchk",
    "enabledad": "enabledad",
    "disableContainerInterface": "disable_container_interface",
}


def parse_bridge_conf(call: Call) -> BridgeConf:
    """The configuration; Unimplemented names an option that this plugin does not have."""
    conf = json.convert(drop_nulls(call.conf), BridgeConf, call.what)
    for option, attribute in _UNSUPPORTED.items():
        if getattr(conf, attribute):
            raise Unimplemented(f"{call.what}: option {option} is not supported", hint=_EXTERNAL_HINT)
    if conf.ip_masq_backend != "nftables":
        raise Unimplemented(
            f"{call.what}: ipMasqBackend {conf.ip_masq_backend!r} is not supported", hint=_EXTERNAL_HINT
        )
    check_mac(conf.mac, call.what)
    return conf


def parse_old_conf(call: Call) -> BridgeConf | None:
    """The configuration of an earlier ADD; None when that one cannot have got past it either."""
    try:
        return parse_bridge_conf(call)
    except (InvalidArgument, Unimplemented):
        return None


def plan_gateways(ips: Iterable[IpConfig]) -> dict[int, IpInterface]:
    """What the bridge's addresses must be, by IP version: each gateway with its subnet's prefix length."""
    found: dict[int, IpInterface] = {}
    for ip in ips:
        own = ipaddress.ip_interface(ip.address)
        found[own.version] = ipaddress.ip_interface(f"{ip.gateway}/{own.network.prefixlen}")
    return found


def plan_routes(conf: BridgeConf, given: Result) -> tuple[Route, ...]:
    """The routes of IPAM, and with isDefaultGateway a default route for each family that lacks one."""
    routes = list(given.routes)
    if conf.is_default_gateway:
        for ip in given.ips:
            everything = "::/0" if ":" in ip.address else "0.0.0.0/0"
            if all(route.dst != everything for route in routes):
                routes.append(Route(dst=everything, gw=ip.gateway))
    return tuple(routes)


def plan_bridge(
    bridge: Link, present: Sequence[Address], conf: BridgeConf, gateways: Sequence[IpInterface]
) -> list[Request]:
    """What brings an existing bridge to the wanted state; nothing when it is there."""
    requests = []
    if not bridge.up or (conf.promisc_mode and not bridge.promiscuous):
        requests.append(link.set_up(bridge.ifindex, promiscuous=conf.promisc_mode))
    own = [found.ip for found in present if not found.link_local]
    for gateway in gateways:
        if gateway in own:
            continue
        rivals = [ip for ip in own if ip.version == gateway.version and _rival(ip, gateway)]
        if rivals and not conf.force_address:
            raise FailedPrecondition(
                f"bridge {conf.bridge} has address {rivals[0]}, and the network wants {gateway}",
                hint="give the network another bridge, or set forceAddress",
            )
        requests += [address.delete_address(bridge.ifindex, ip) for ip in rivals]
        requests.append(address.new_address(bridge.ifindex, gateway))
    return requests


def _rival(ip: IpInterface, gateway: IpInterface) -> bool:
    """IPv6 interfaces have several addresses as a matter of course: there only one of the same subnet counts."""
    return ip.version == 4 or ip.network.overlaps(gateway.network)


def with_gateway(ip: IpConfig, conf: BridgeConf) -> IpConfig:
    """An IPAM plugin may name no gateway; a bridge that is one then takes the subnet's first address."""
    if ip.gateway or not (conf.is_gateway or conf.is_default_gateway):
        return ip
    return structs.replace(ip, gateway=str(ipaddress.ip_interface(ip.address).network[1]))
