"""bridge: a veth pair from the pod to a bridge on this host, in process.

    pod namespace                 host
    eth0 ───────── vethHASH ───── cni0 (gateway address) ── routing, masquerade ── outside

The host end's name follows from network, container and interface, so that it
can be deleted by anyone at any time; its alias says whose it is.  The bridge
carries a mark when it was made here, and goes some time after its last port.
"""

import ipaddress
from collections.abc import Callable, Sequence

from msgspec import structs

from rundlet.errors import FailedPrecondition
from rundlet.netlink import address, link
from rundlet.netlink.address import IpInterface
from rundlet.netlink.link import Link
from rundlet.netlink.message import Request
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.bridgeplan import (
    BridgeConf,
    parse_bridge_conf,
    parse_old_conf,
    plan_bridge,
    plan_gateways,
    plan_routes,
    with_gateway,
)
from rundlet.network.call import Builtin, Call, Plugin
from rundlet.network.ipam import Ipam
from rundlet.network.masquerade import Masquerade
from rundlet.network.podlink import (
    check_pod,
    collect_host_interfaces,
    configure_pod,
    delete_host_interface,
    derive_mac,
    host_interface,
    random_mac,
)
from rundlet.network.ruleset import Ruleset
from rundlet.network.sysctl import enable_forwarding, skip_address_detection
from rundlet.spec.cni import Dns, Interface, IpConfig, Result
from rundlet.step import step

MARK = "made by rundlet"


class Bridge(Builtin):
    """`find_plugin` gives the IPAM plugin for its type."""

    def __init__(self, find_plugin: Callable[[str], Plugin], ruleset: Ruleset) -> None:
        self._ipam = Ipam(find_plugin)
        self._masquerade = Masquerade(ruleset)

    def add(self, call: Call) -> Result:
        conf = parse_bridge_conf(call)
        with step("bridge.address"):
            given = self._allocate(call, conf)
        gateways = plan_gateways(given.ips) if conf.is_gateway or conf.is_default_gateway else {}
        routes = plan_routes(conf, given)
        with NetlinkSocket() as host:
            with step("bridge.link"):
                bridge = _ensure_bridge(host, call, conf, tuple(gateways.values()))
            with step("bridge.veth"):
                interfaces = _connect(host, call, conf, bridge, given.ips)
        with step("bridge.pod"):
            configure_pod(call, given.ips, routes)
        if conf.ip_masq:
            subnets = {ipaddress.ip_interface(ip.address).network for ip in given.ips}
            with step("bridge.masquerade"):
                self._masquerade.ensure(call.network, subnets)
        for version in gateways:
            enable_forwarding(version)
        return Result(
            interfaces=interfaces,
            ips=tuple(structs.replace(ip, interface=len(interfaces) - 1) for ip in given.ips),
            routes=routes,
            dns=conf.dns if conf.dns != Dns() else given.dns,
        )

    def delete(self, call: Call) -> None:
        """The veth pair first, the lease after it: an address is given again only when nobody answers to it."""
        with step("bridge.delete"):
            delete_host_interface(call)
        if parse_old_conf(call):
            self._ipam.delete(call)

    def check(self, call: Call) -> None:
        conf = parse_bridge_conf(call)
        self._ipam.check(call)
        with NetlinkSocket() as host:
            bridge = link.parse_link(host.query(link.get_link(conf.bridge)))
            port = link.parse_link(host.query(link.get_link(host_interface(call))))
        if port.master != bridge.ifindex:
            raise FailedPrecondition(f"{call.what}: {port.name} is no port of {bridge.name}")
        check_pod(call)

    def status(self, call: Call) -> None:
        conf = parse_bridge_conf(call)
        with NetlinkSocket() as host:
            _find_bridge(host, conf)
        self._ipam.status(call)

    def collect(self, call: Call) -> None:
        collect_host_interfaces(call)
        self._ipam.collect(call)
        if not call.valid:
            self.retire(call)

    def retire(self, call: Call) -> None:
        """The network's last pod has left: undo what its pods shared.  Called under `call.lock`."""
        conf = parse_old_conf(call)
        if conf is None:
            return
        if conf.ip_masq:
            self._masquerade.delete(call.network)
        with NetlinkSocket() as host:
            bridge = link.find_link(host, conf.bridge)
            if bridge and bridge.alias == MARK and not host.dump(link.list_links(bridge.ifindex)):
                host.execute(link.delete_link(conf.bridge))

    def _allocate(self, call: Call, conf: BridgeConf) -> Result:
        given = self._ipam.add(call)
        return structs.replace(given, ips=tuple(with_gateway(ip, conf) for ip in given.ips))


def _ensure_bridge(
    host: NetlinkSocket, call: Call, conf: BridgeConf, gateways: Sequence[IpInterface]
) -> Link:
    """The bridge, up, with the gateways' addresses; the lock is taken only to change it."""
    bridge = _find_bridge(host, conf)
    if bridge and not _missing(host, bridge, conf, gateways):
        return bridge
    with call.lock():
        bridge = _find_bridge(host, conf) or _make_bridge(host, conf)
        if not bridge.up and any(gateway.version == 6 for gateway in gateways):
            skip_address_detection(bridge.name)
        host.execute(*_missing(host, bridge, conf, gateways))
        return bridge


def _missing(
    host: NetlinkSocket, bridge: Link, conf: BridgeConf, gateways: Sequence[IpInterface]
) -> list[Request]:
    present = [address.parse_address(answer) for answer in host.dump(address.list_addresses(bridge.ifindex))]
    return plan_bridge(bridge, present, conf, gateways)


def _find_bridge(host: NetlinkSocket, conf: BridgeConf) -> Link | None:
    found = link.find_link(host, conf.bridge)
    if found and found.kind != "bridge":
        raise FailedPrecondition(f"interface {conf.bridge} is {found.kind or 'a device'}, not a bridge")
    return found


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
    mac = conf.mac or derive_mac(ips)
    requests = [
        link.new_veth(
            port.name,
            pod.ifname,
            peer_netns_fd=pod.netns_fd,
            master=bridge.ifindex,
            mac=port.mac,
            peer_mac=mac,
            mtu=conf.mtu,
        ),
        link.set_alias(port.name, call.tag),
    ]
    if conf.hairpin_mode or conf.port_isolation:
        requests.append(
            link.set_bridge_port(port.name, hairpin=conf.hairpin_mode, isolated=conf.port_isolation)
        )
    host.execute(*requests)
    return (Interface(bridge.name, mac=bridge.mac), port, Interface(pod.ifname, mac, sandbox=pod.netns_path))
