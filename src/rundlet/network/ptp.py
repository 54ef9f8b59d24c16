"""ptp: a veth pair from the pod straight to this host, which routes; no bridge.

pod namespace                          host
eth0 10.1.0.2/24 ───────── vethHASH 10.1.0.1/32, route 10.1.0.2/32 ── routing, masquerade ── outside
route 10.1.0.1/32, and by it to all else, its own subnet included
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import structs

from rundlet.errors import FailedPrecondition, InvalidArgument, Unimplemented
from rundlet.netlink import address, link, route
from rundlet.netlink.link import Link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call, Plugin
from rundlet.network.ipam import Ipam
from rundlet.network.masquerade import Masquerade
from rundlet.network.podlink import (
    MacRequest,
    check_mac,
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
from rundlet.spec import json
from rundlet.spec.cni import Dns, Interface, IpConfig, Result
from rundlet.spec.document import drop_nulls


class _Conf(MacRequest, frozen=True, rename="camel"):
    ip_masq: bool = False
    ip_masq_backend: str = "nftables"
    mtu: int = 0
    ipam: dict[str, Any] = {}
    dns: Dns = Dns()


class Ptp(Builtin):
    """`find_plugin` gives the IPAM plugin for its type."""

    def __init__(self, find_plugin: Callable[[str], Plugin], ruleset: Ruleset) -> None:
        self._ipam = Ipam(find_plugin)
        self._masquerade = Masquerade(ruleset)

    def add(self, call: Call) -> Result:
        conf = _parse(call)
        given = self._ipam.add(call)
        ips = tuple(structs.replace(ip, gateway=ip.gateway or _first_of(ip)) for ip in given.ips)
        mac = conf.mac or derive_mac(ips)
        port = _connect(call, conf, ips, mac)
        configure_pod(call, ips, given.routes, lambda own: _plan_routes(own, ips), connected=False)
        if conf.ip_masq:
            subnets = {ipaddress.ip_interface(ip.address).network for ip in ips}
            self._masquerade.ensure(call.network, subnets)
        for version in {ipaddress.ip_interface(ip.address).version for ip in ips}:
            enable_forwarding(version)
        own = Interface(call.attachment.ifname, mac, sandbox=call.attachment.netns_path)
        return Result(
            interfaces=(port, own),
            ips=tuple(structs.replace(ip, interface=1) for ip in ips),
            routes=given.routes,
            dns=conf.dns if conf.dns != Dns() else given.dns,
        )

    def delete(self, call: Call) -> None:
        delete_host_interface(call)
        self._ipam.delete(call)

    def check(self, call: Call) -> None:
        self._ipam.check(call)
        with NetlinkSocket() as host:
            if link.find_link(host, host_interface(call)) is None:
                raise FailedPrecondition(f"{call.what}: {host_interface(call)} is gone")
        check_pod(call)

    def status(self, call: Call) -> None:
        _parse(call)
        self._ipam.status(call)

    def collect(self, call: Call) -> None:
        collect_host_interfaces(call)
        self._ipam.collect(call)
        if not call.valid:
            self.retire(call)

    def retire(self, call: Call) -> None:
        self._masquerade.delete(call.network)


def _parse(call: Call) -> _Conf:
    conf = json.convert(drop_nulls(call.conf), _Conf, call.what)
    if not conf.ipam:
        raise InvalidArgument(f"{call.what}: ipam: a point-to-point link needs addresses")
    if conf.ip_masq_backend != "nftables":
        raise Unimplemented(
            f"{call.what}: ipMasqBackend {conf.ip_masq_backend!r} is not supported",
            hint="leave ptp out of the built-in plugins to use the plugin program",
        )
    check_mac(conf.mac, call.what)
    return conf


def _connect(call: Call, conf: _Conf, ips: Iterable[IpConfig], mac: str) -> Interface:
    """Lay the cable, the host's end with the gateways' addresses and routes to the pod's."""
    pod = call.attachment
    port = Interface(host_interface(call), mac=random_mac())
    veth = link.new_veth(
        port.name, pod.ifname, peer_netns_fd=pod.netns_fd, mac=port.mac, peer_mac=mac, mtu=conf.mtu, up=False
    )
    with NetlinkSocket() as host:
        host.execute(veth, link.set_alias(port.name, call.tag))
        ifindex = link.parse_link(host.query(link.get_link(port.name))).ifindex
        if any(":" in ip.address for ip in ips):
            skip_address_detection(port.name)
        host.execute(link.set_up(ifindex))
        for ip in ips:
            gateway = ipaddress.ip_interface(ip.gateway)  # as a host of its own: /32, /128
            own = ipaddress.ip_interface(ip.address)
            to_pod = route.Route(ifindex, ipaddress.ip_network(own.ip), scope=route.SCOPE_LINK)
            host.execute(address.new_address(ifindex, gateway), route.new_route(to_pod))
    return port


def _plan_routes(own: Link, ips: Iterable[IpConfig]) -> list[route.Route]:
    """The gateway is on the link and nothing else is: neighbours of the subnet are reached by it too."""
    found = []
    for ip in ips:
        gateway = ipaddress.ip_address(ip.gateway)
        subnet = ipaddress.ip_interface(ip.address).network
        found.append(route.Route(own.ifindex, ipaddress.ip_network(gateway), scope=route.SCOPE_LINK))
        if subnet.prefixlen < subnet.max_prefixlen:
            found.append(route.Route(own.ifindex, subnet, gateway=gateway))
    return found


def _first_of(ip: IpConfig) -> str:
    return str(ipaddress.ip_interface(ip.address).network[1])
