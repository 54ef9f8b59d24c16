"""The pod's end of a link: its name on the host, its MAC, its addresses and routes."""

import hashlib
import ipaddress
import os
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.netlink import address, link, route
from rundlet.netlink.link import Link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Call
from rundlet.network.leases import storage_error
from rundlet.spec.cni import IpConfig, Route


class _CniArgs(Struct, frozen=True):
    mac: str = ""


class _Args(Struct, frozen=True):
    cni: _CniArgs = _CniArgs()


class _RuntimeConfig(Struct, frozen=True):
    mac: str = ""


class MacRequest(Struct, frozen=True, rename="camel"):
    """Where a pod's MAC may be asked for; a base of plugins' configurations."""

    args: _Args = _Args()
    runtime_config: _RuntimeConfig = _RuntimeConfig()

    @property
    def mac(self) -> str:
        return self.runtime_config.mac or self.args.cni.mac


def host_interface(call: Call, prefix: str = "veth") -> str:
    """The name of the host's end, which follows from the attachment: 15 bytes at most (IFNAMSIZ)."""
    owner = f"{call.network}/{call.attachment.container_id}/{call.attachment.ifname}"
    return prefix + hashlib.sha256(owner.encode()).hexdigest()[: 15 - len(prefix)]


def delete_host_interface(call: Call, prefix: str = "veth") -> None:
    """Idempotent: it may have gone before, or with the pod's namespace."""
    try:
        with NetlinkSocket() as host:
            host.execute(link.delete_link(host_interface(call, prefix)))
    except NotFound:
        pass


def collect_host_interfaces(call: Call) -> None:
    """GC: delete the interfaces on the host that bear the tag of an attachment that is not valid."""
    is_stale = call.find_stale()
    with NetlinkSocket() as host:
        for found in map(link.parse_link, host.dump(link.list_links())):
            if is_stale(found.alias):
                try:
                    host.execute(link.delete_link(found.name))
                except NotFound:
                    continue  # its namespace went meanwhile, and it with it


def configure_pod(
    call: Call,
    ips: Sequence[IpConfig],
    routes: Sequence[Route],
    prepare: Callable[[Link], Iterable[route.Route]] = lambda _: (),
    *,
    connected: bool = True,
) -> Link:
    """Bring the pod's interface up with its addresses and routes; the link.

    `prepare` gives routes that come before the others.  Not `connected`, the
    addresses bring no route to their subnet with them.
    """
    with NetlinkSocket(fd=call.attachment.route_fd) as pod:
        found = link.parse_link(pod.query(link.get_link(call.attachment.ifname)))
        own = [ipaddress.ip_interface(ip.address) for ip in ips]
        pod.execute(
            link.set_up(found.ifindex),
            *(address.new_address(found.ifindex, ip, connected=connected) for ip in own),
            *map(route.new_route, prepare(found)),
            *(route.new_route(_kernel_route(found.ifindex, one, ips)) for one in routes),
        )
        return found


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


def check_pod(call: Call) -> None:
    """The pod's interface is up and has every address that ADD gave it."""
    with NetlinkSocket(fd=call.attachment.route_fd) as pod:
        own = link.parse_link(pod.query(link.get_link(call.attachment.ifname)))
        answers = pod.dump(address.list_addresses(own.ifindex))
    if not own.up:
        raise FailedPrecondition(f"{call.what}: {own.name} is down")
    present = {str(address.parse_address(answer).ip) for answer in answers}
    for ip in _own_ips(call):
        if ip.address not in present:
            raise FailedPrecondition(f"{call.what}: {own.name} has lost its address {ip.address}")


def _own_ips(call: Call) -> list[IpConfig]:
    """Of this interface, or of none in particular."""
    if call.previous is None:
        return []
    names = [interface.name for interface in call.previous.interfaces]
    return [
        ip
        for ip in call.previous.ips
        if ip.interface is None or names[ip.interface] == call.attachment.ifname
    ]


def check_mac(text: str, what: str) -> str:
    """`text`, "" allowed; InvalidArgument when it is no MAC address."""
    if text and (len(text) != 17 or text.count(":") != 5 or not _is_hex(text.replace(":", ""))):
        raise InvalidArgument(f"{what}: mac: {text!r} is not a MAC address")
    return text


def _is_hex(text: str) -> bool:
    return len(text) == 12 and all(digit in "0123456789abcdefABCDEF" for digit in text)


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


def open_netns(call: Call) -> int:
    """The pod's namespace on the way down, the caller's to close; -1 when it is gone."""
    path = call.attachment.netns_path
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else -1
    except FileNotFoundError:
        return -1
    except OSError as error:
        raise storage_error(f"open network namespace {path}", error) from error
