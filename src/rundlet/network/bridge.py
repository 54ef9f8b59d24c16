"""bridge: a veth pair from the pod to a bridge on this host, in process.

    pod namespace                 host
    eth0 ───────── vethHASH ───── cni0 (gateway address) ── routing, masquerade ── outside

The host end's name follows from network, container and interface, so that it
can be deleted by anyone at any time.  The bridge carries a mark when it was
made here, and goes with its last port.
"""

import hashlib
import ipaddress
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct, structs

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from rundlet.netlink import address, link, route
from rundlet.netlink.address import Address, IpInterface
from rundlet.netlink.link import Link
from rundlet.netlink.message import Request
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Call, Plugin
from rundlet.network.leases import storage_error
from rundlet.network.masquerade import Masquerade
from rundlet.spec import json
from rundlet.spec.cni import Dns, Interface, IpConfig, Result, Route
from rundlet.spec.document import drop_nulls

MARK = "made by rundlet"

_EXTERNAL_HINT = "leave bridge out of the built-in plugins to use the plugin program"


class _CniArgs(Struct, frozen=True):
    mac: str = ""


class _Args(Struct, frozen=True):
    cni: _CniArgs = _CniArgs()


class _RuntimeConfig(Struct, frozen=True):
    mac: str = ""


class BridgeConf(Struct, frozen=True, rename="camel"):
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
    args: _Args = _Args()
    runtime_config: _RuntimeConfig = _RuntimeConfig()


_UNSUPPORTED = {
    "vlan": "vlan",
    "vlanTrunk": "vlan_trunk",
    "macspoofchk": "macspoofchk",
    "enabledad": "enabledad",
    "disableContainerInterface": "disable_container_interface",
}


class Bridge:
    """`find_plugin` gives the IPAM plugin for its type."""

    def __init__(self, find_plugin: Callable[[str], Plugin]) -> None:
        self._find_plugin = find_plugin
        self._masquerade = Masquerade()

    def add(self, call: Call) -> Result:
        conf = parse_bridge_conf(call)
        given = self._allocate(call, conf)
        gateways = plan_gateways(given.ips) if conf.is_gateway or conf.is_default_gateway else {}
        routes = plan_routes(conf, given)
        with NetlinkSocket() as host:
            bridge = _ensure_bridge(host, call, conf, tuple(gateways.values()))
            interfaces = _connect(host, call, conf, bridge, given.ips)
        _configure_pod(call, given.ips, routes)
        if conf.ip_masq:
            subnets = {ipaddress.ip_interface(ip.address).network for ip in given.ips}
            self._masquerade.ensure(call.network, subnets, call.lock)
        for version in gateways:
            _enable_forwarding(version)
        return Result(
            interfaces=interfaces,
            ips=tuple(structs.replace(ip, interface=len(interfaces) - 1) for ip in given.ips),
            routes=routes,
            dns=conf.dns if conf.dns != Dns() else given.dns,
        )

    def delete(self, call: Call) -> None:
        """The veth pair first, the lease after it: an address is given again only when nobody answers to it."""
        try:
            with NetlinkSocket() as host:
                host.execute(link.delete_link(host_interface(call)))
        except NotFound:
            pass  # deleted before, or gone with the pod's namespace
        conf = _parse_old_conf(call)
        if conf and conf.ipam:
            self._ipam(conf).delete(_ipam_call(call, conf))

    def check(self, call: Call) -> None:
        conf = parse_bridge_conf(call)
        if conf.ipam:
            self._ipam(conf).check(_ipam_call(call, conf))
        with NetlinkSocket() as host:
            bridge = link.parse_link(host.query(link.get_link(conf.bridge)))
            port = link.parse_link(host.query(link.get_link(host_interface(call))))
        if port.master != bridge.ifindex:
            raise FailedPrecondition(f"{call.what}: {port.name} is no port of {bridge.name}")
        _check_pod(call)

    def retire(self, call: Call) -> None:
        """The network's last pod has left: undo what its pods shared.  Called under `call.lock`."""
        conf = _parse_old_conf(call)
        if conf is None:
            return
        if conf.ip_masq:
            self._masquerade.delete(call.network)
        with NetlinkSocket() as host:
            bridge = _find_link(host, conf.bridge)
            if bridge and bridge.alias == MARK and not host.dump(link.list_links(bridge.ifindex)):
                host.execute(link.delete_link(conf.bridge))

    def _allocate(self, call: Call, conf: BridgeConf) -> Result:
        if not conf.ipam:
            return Result()
        given = self._ipam(conf).add(_ipam_call(call, conf))
        if not given.ips:
            raise FailedPrecondition(f"{call.what}: IPAM plugin {conf.ipam['type']} gave no address")
        return structs.replace(given, ips=tuple(_with_gateway(ip, conf) for ip in given.ips))

    def _ipam(self, conf: BridgeConf) -> Plugin:
        return self._find_plugin(conf.ipam["type"])


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
    if conf.ipam and not isinstance(conf.ipam.get("type"), str):
        raise InvalidArgument(f"{call.what}: ipam.type: expected the name of a plugin")
    return conf


def _parse_old_conf(call: Call) -> BridgeConf | None:
    """The configuration of an earlier ADD; None when that one cannot have got past it either."""
    try:
        return parse_bridge_conf(call)
    except (InvalidArgument, Unimplemented):
        return None


def host_interface(call: Call) -> str:
    """The name of the host's end: 15 bytes at most (IFNAMSIZ)."""
    owner = f"{call.network}/{call.attachment.container_id}/{call.attachment.ifname}"
    return "veth" + hashlib.sha256(owner.encode()).hexdigest()[:11]


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


def _ensure_bridge(
    host: NetlinkSocket, call: Call, conf: BridgeConf, gateways: Sequence[IpInterface]
) -> Link:
    """The bridge, up, with the gateways' addresses; the lock is taken only to change it."""
    bridge = _find_bridge(host, conf)
    if bridge and not _missing(host, bridge, conf, gateways):
        return bridge
    with call.lock():
        bridge = _find_bridge(host, conf) or _make_bridge(host, conf)
        host.execute(*_missing(host, bridge, conf, gateways))
        return bridge


def _missing(
    host: NetlinkSocket, bridge: Link, conf: BridgeConf, gateways: Sequence[IpInterface]
) -> list[Request]:
    present = [address.parse_address(answer) for answer in host.dump(address.list_addresses(bridge.ifindex))]
    return plan_bridge(bridge, present, conf, gateways)


def _find_bridge(host: NetlinkSocket, conf: BridgeConf) -> Link | None:
    found = _find_link(host, conf.bridge)
    if found and found.kind != "bridge":
        raise FailedPrecondition(f"interface {conf.bridge} is {found.kind or 'a device'}, not a bridge")
    return found


def _find_link(host: NetlinkSocket, name: str) -> Link | None:
    try:
        return link.parse_link(host.query(link.get_link(name)))
    except NotFound:
        return None


def _make_bridge(host: NetlinkSocket, conf: BridgeConf) -> Link:
    host.execute(
        link.new_bridge(conf.bridge, mac=random_mac(), mtu=conf.mtu), link.set_alias(conf.bridge, MARK)
    )
    return link.parse_link(host.query(link.get_link(conf.bridge)))


def _connect(
    host: NetlinkSocket, call: Call, conf: BridgeConf, bridge: Link, ips: Sequence[IpConfig]
) -> tuple[Interface, Interface, Interface]:
    """Lay the cable: (bridge, host end, pod end)."""
    pod = call.attachment
    port = Interface(host_interface(call), mac=random_mac())
    mac = conf.runtime_config.mac or conf.args.cni.mac or derive_mac(ips)
    requests = [
        link.new_veth(
            port.name,
            pod.ifname,
            peer_netns_fd=pod.netns_fd,
            master=bridge.ifindex,
            mac=port.mac,
            peer_mac=mac,
            mtu=conf.mtu,
        )
    ]
    if conf.hairpin_mode or conf.port_isolation:
        requests.append(
            link.set_bridge_port(port.name, hairpin=conf.hairpin_mode, isolated=conf.port_isolation)
        )
    host.execute(*requests)
    return (Interface(bridge.name, mac=bridge.mac), port, Interface(pod.ifname, mac, sandbox=pod.netns_path))


def _configure_pod(call: Call, ips: Sequence[IpConfig], routes: Sequence[Route]) -> None:
    with NetlinkSocket(fd=call.attachment.route_fd) as pod:
        ifindex = link.parse_link(pod.query(link.get_link(call.attachment.ifname))).ifindex
        pod.execute(
            link.set_up(ifindex),
            *(address.new_address(ifindex, ipaddress.ip_interface(ip.address)) for ip in ips),
            *(route.new_route(_kernel_route(ifindex, one, ips)) for one in routes),
        )


def _kernel_route(ifindex: int, wanted: Route, ips: Sequence[IpConfig]) -> route.Route:
    destination = ipaddress.ip_network(wanted.dst, strict=False)
    # Without one of its own, a route goes by the gateway of its family's address.
    same_family = (ip.gateway for ip in ips if (":" in ip.address) == (destination.version == 6))
    gateway = wanted.gw or next(same_family, "")
    default_scope = route.SCOPE_UNIVERSE if gateway else route.SCOPE_LINK
    return route.Route(
        ifindex,
        destination,
        gateway=ipaddress.ip_address(gateway) if gateway else None,
        scope=default_scope if wanted.scope is None else wanted.scope,
        table=route.TABLE_MAIN if wanted.table is None else wanted.table,
        priority=wanted.priority,
        mtu=wanted.mtu,
        advmss=wanted.advmss,
    )


def _check_pod(call: Call) -> None:
    """The pod's interface has every address that ADD gave it."""
    with NetlinkSocket(fd=call.attachment.route_fd) as pod:
        own = link.parse_link(pod.query(link.get_link(call.attachment.ifname)))
        present = {
            str(address.parse_address(answer).ip) for answer in pod.dump(address.list_addresses(own.ifindex))
        }
    for ip in call.previous.ips if call.previous else ():
        if ip.address not in present:
            raise FailedPrecondition(f"{call.what}: {own.name} has lost its address {ip.address}")


def _with_gateway(ip: IpConfig, conf: BridgeConf) -> IpConfig:
    """An IPAM plugin may name no gateway; a bridge that is one then takes the subnet's first address."""
    if ip.gateway or not (conf.is_gateway or conf.is_default_gateway):
        return ip
    return structs.replace(ip, gateway=str(ipaddress.ip_interface(ip.address).network[1]))


def _ipam_call(call: Call, conf: BridgeConf) -> Call:
    return call._replace(type=conf.ipam["type"])


def _enable_forwarding(version: int) -> None:
    """Forwarding is per network namespace, and off in a new one."""
    path = "/proc/sys/net/ipv4/ip_forward" if version == 4 else "/proc/sys/net/ipv6/conf/all/forwarding"
    try:
        # Only when needed: writing 1 again walks all interfaces under the kernel's network lock.
        if _read_text(path) != "1":
            with open(path, "w", encoding="ascii") as file:
                file.write("1")
    except OSError as error:
        raise storage_error(f"turn on forwarding in {path}", error) from error


def _read_text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def random_mac() -> str:
    """A unicast, locally administered address (IEEE 802: bits 0 and 1 of the first byte)."""
    raw = bytearray(os.urandom(6))
    raw[0] = raw[0] & 0xFC | 0x02
    return raw.hex(":")


def derive_mac(ips: Sequence[IpConfig]) -> str:
    """A MAC that follows from the IPv4 address, so that one given again fits what neighbours remember."""
    for ip in ips:
        if ":" not in ip.address:
            return "0a:58:" + ipaddress.ip_interface(ip.address).packed.hex(":")
    return random_mac()
