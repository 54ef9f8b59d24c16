"""Network links over rtnetlink (rtnetlink(7), linux/if_link.h): ask, make, change, delete.

A link message is a `struct ifinfomsg` and IFLA_* attributes:

    0        1         2        4       8       12        16
    | family | padding | type   | index | flags | change  | attributes …

A veth pair is one message: the attributes of this side, and nested in them an
ifinfomsg with the attributes of its peer, which may name another namespace.
"""

import struct
from typing import NamedTuple

from rundlet.errors import DataLoss, NotFound
from rundlet.netlink import attribute
from rundlet.netlink.message import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Message,
    Request,
)
from rundlet.netlink.socket import NetlinkSocket

_RTM_NEWLINK = 16
_RTM_DELLINK = 17
_RTM_GETLINK = 18

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINK = 5
_IFLA_MASTER = 10
_IFLA_TXQLEN = 13
_IFLA_LINKINFO = 18
_IFLA_IFALIAS = 20
_IFLA_STATS64 = 23
_IFLA_NET_NS_FD = 28

_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INFO_SLAVE_KIND = 4
_IFLA_INFO_SLAVE_DATA = 5
_VETH_INFO_PEER = 1
_IFLA_MACVLAN_MODE = 1
_IFLA_BRPORT_MODE = 4
_IFLA_BRPORT_ISOLATED = 33

_IFF_UP = 0x1
_IFF_PROMISC = 0x100
_IFF_ALLMULTI = 0x200

# enum macvlan_mode
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}

_INFO = struct.Struct("=BxHiII")

# The loopback device is the first of every network namespace (LOOPBACK_IFINDEX).
LOOPBACK_INDEX = 1


class LinkStats(NamedTuple):
    """Counters since the link was made (struct rtnl_link_stats64), as its own namespace sees them."""

    name: str
    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


class Link(NamedTuple):
    """`kind` is "bridge", "veth" … and "" for devices; `master` is the bridge's index or 0."""

    ifindex: int
    name: str
    kind: str
    up: bool
    promiscuous: bool
    allmulti: bool
    mtu: int
    txqlen: int
    mac: str
    master: int
    alias: str
    stats: LinkStats


_STATS = struct.Struct("=8Q")


def get_link(name: str) -> Request:
    return Request(_RTM_GETLINK, NLM_F_ACK, _INFO.pack(0, 0, 0, 0, 0) + _name(name), f"read interface {name}")


def get_link_at(ifindex: int) -> Request:
    return Request(_RTM_GETLINK, NLM_F_ACK, _INFO.pack(0, 0, ifindex, 0, 0), f"read interface {ifindex}")


def find_link(route: NetlinkSocket, name: str) -> Link | None:
    """The link called `name` in the socket's namespace."""
    try:
        return parse_link(route.query(get_link(name)))
    except NotFound:
        return None


def list_links(master: int = 0) -> Request:
    """All links, or the ports of the bridge with index `master`."""
    body = _INFO.pack(0, 0, 0, 0, 0) + (attribute.pack_u32(_IFLA_MASTER, master) if master else b"")
    return Request(_RTM_GETLINK, NLM_F_DUMP, body, "list interfaces")


def parse_link(message: Message) -> Link:
    """The link that a RTM_NEWLINK message describes; DataLoss when it is cut short."""
    if len(message.body) < _INFO.size:
        raise DataLoss("netlink link message: header cut short")
    _family, _type, index, flags, _change = _INFO.unpack_from(message.body)
    found = attribute.parse(message.body[_INFO.size :])
    name = attribute.read_text(found.get(_IFLA_IFNAME))
    information = attribute.parse(found.get(_IFLA_LINKINFO, b""))
    return Link(
        ifindex=index,
        name=name,
        kind=attribute.read_text(information.get(_IFLA_INFO_KIND)),
        up=bool(flags & _IFF_UP),
        promiscuous=bool(flags & _IFF_PROMISC),
        allmulti=bool(flags & _IFF_ALLMULTI),
        mtu=attribute.read_u32(found.get(_IFLA_MTU)),
        txqlen=attribute.read_u32(found.get(_IFLA_TXQLEN)),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        master=attribute.read_u32(found.get(_IFLA_MASTER)),
        alias=attribute.read_text(found.get(_IFLA_IFALIAS)),
        stats=_parse_stats(name, found.get(_IFLA_STATS64, bytes(_STATS.size))),
    )


def _parse_stats(name: str, payload: bytes) -> LinkStats:
    if len(payload) < _STATS.size:
        raise DataLoss(f"netlink counters of {name}: cut short")
    return LinkStats(name, *_STATS.unpack_from(payload))


def new_bridge(name: str, *, mac: str, mtu: int = 0) -> Request:
    """Create a bridge, down; AlreadyExists when the name is taken.

    `mac` is set because a bridge without one of its own takes the lowest of its
    ports', so that its address would change as pods come and go.
    """
    kind = attribute.pack_nested(_IFLA_LINKINFO, attribute.pack_text(_IFLA_INFO_KIND, "bridge"))
    body = _INFO.pack(0, 0, 0, 0, 0) + _name(name) + kind + _mac(mac) + _mtu(mtu)
    return Request(_RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body, f"create bridge {name}")


def new_veth(
    name: str,
    peer: str,
    *,
    peer_netns_fd: int,
    master: int = 0,
    mac: str,
    peer_mac: str = "",
    mtu: int = 0,
    up: bool = True,
) -> Request:
    """Create a veth pair: `name` here, `up`, a port of `master` if any; `peer` in another namespace, down.

    The kernel opens no peer that has not been tied yet (ENOTCONN of veth_open), so `set_up` follows.
    `peer_mac` "" leaves it to the kernel.  AlreadyExists when one of the names is taken.
    """
    far = _INFO.pack(0, 0, 0, 0, 0) + _name(peer) + _mac(peer_mac) + _mtu(mtu)
    far += attribute.pack_u32(_IFLA_NET_NS_FD, peer_netns_fd)
    information = attribute.pack_nested(
        _IFLA_LINKINFO,
        attribute.pack_text(_IFLA_INFO_KIND, "veth"),
        attribute.pack_nested(_IFLA_INFO_DATA, attribute.pack(_VETH_INFO_PEER, far)),
    )
    near = _INFO.pack(0, 0, 0, _IFF_UP if up else 0, _IFF_UP) + _name(name) + _mac(mac) + _mtu(mtu)
    body = near + (attribute.pack_u32(_IFLA_MASTER, master) if master else b"") + information
    purpose = f"create veth pair {name} and {peer}"
    return Request(_RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body, purpose)


def new_macvlan(name: str, *, parent: int, mode: str, netns_fd: int, mac: str = "", mtu: int = 0) -> Request:
    """Create a link with a MAC of its own on the device with index `parent`, in another namespace, down.

    `mode` is one of MACVLAN_MODES; `mac` "" leaves it to the kernel.
    """
    information = attribute.pack_nested(
        _IFLA_LINKINFO,
        attribute.pack_text(_IFLA_INFO_KIND, "macvlan"),
        attribute.pack_nested(_IFLA_INFO_DATA, attribute.pack_u32(_IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])),
    )
    near = _INFO.pack(0, 0, 0, 0, 0) + _name(name) + _mac(mac) + _mtu(mtu)
    body = near + attribute.pack_u32(_IFLA_LINK, parent) + attribute.pack_u32(_IFLA_NET_NS_FD, netns_fd)
    purpose = f"create macvlan {name}"
    return Request(_RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body + information, purpose)


def new_ifb(name: str, *, mtu: int) -> Request:
    """Create an intermediate functional block: what is sent to it can be queued, up."""
    kind = attribute.pack_nested(_IFLA_LINKINFO, attribute.pack_text(_IFLA_INFO_KIND, "ifb"))
    body = _INFO.pack(0, 0, 0, _IFF_UP, _IFF_UP) + _name(name) + kind + _mtu(mtu)
    return Request(_RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body, f"create ifb {name}")


def change_link(
    ifindex: int,
    *,
    mac: str = "",
    mtu: int = 0,
    txqlen: int = -1,
    promiscuous: bool | None = None,
    allmulti: bool | None = None,
) -> Request:
    """Change what is given of a link."""
    wanted = ((_IFF_PROMISC, promiscuous), (_IFF_ALLMULTI, allmulti))
    flags = sum(flag for flag, on in wanted if on)
    changed = sum(flag for flag, on in wanted if on is not None)
    body = _INFO.pack(0, 0, ifindex, flags, changed) + _mac(mac) + _mtu(mtu)
    body += attribute.pack_u32(_IFLA_TXQLEN, txqlen) if txqlen >= 0 else b""
    return Request(_RTM_NEWLINK, NLM_F_ACK, body, f"change link {ifindex}")


def set_up(ifindex: int, *, promiscuous: bool = False) -> Request:
    flags = _IFF_UP | (_IFF_PROMISC if promiscuous else 0)
    return Request(_RTM_NEWLINK, NLM_F_ACK, _INFO.pack(0, 0, ifindex, flags, flags), f"set link {ifindex} up")


def move_link(ifindex: int, name: str, *, netns_fd: int) -> Request:
    """Into another namespace, where it is called `name`; it goes down and loses its addresses on the way."""
    body = _INFO.pack(0, 0, ifindex, 0, _IFF_UP) + attribute.pack_u32(_IFLA_NET_NS_FD, netns_fd) + _name(name)
    return Request(_RTM_NEWLINK, NLM_F_ACK, body, f"move link {ifindex} to another namespace as {name}")


def set_down(ifindex: int) -> Request:
    return Request(_RTM_NEWLINK, NLM_F_ACK, _INFO.pack(0, 0, ifindex, 0, _IFF_UP), f"set link {ifindex} down")


def set_alias(name: str, alias: str) -> Request:
    body = _INFO.pack(0, 0, 0, 0, 0) + _name(name) + attribute.pack(_IFLA_IFALIAS, alias.encode())
    return Request(_RTM_NEWLINK, NLM_F_ACK, body, f"set the alias of {name}")


def set_bridge_port(name: str, *, hairpin: bool | None = None, isolated: bool | None = None) -> Request:
    """Options of a bridge's port, None to leave one: hairpin sends frames back where they came from."""
    options = ((_IFLA_BRPORT_MODE, hairpin), (_IFLA_BRPORT_ISOLATED, isolated))
    data = attribute.pack_nested(
        _IFLA_INFO_SLAVE_DATA, *(attribute.pack_u8(kind, on) for kind, on in options if on is not None)
    )
    kind = attribute.pack_text(_IFLA_INFO_SLAVE_KIND, "bridge")
    body = _INFO.pack(0, 0, 0, 0, 0) + _name(name) + attribute.pack_nested(_IFLA_LINKINFO, kind, data)
    return Request(_RTM_NEWLINK, NLM_F_ACK, body, f"set the bridge port options of {name}")


def delete_link(name: str) -> Request:
    """Delete a link, with its peer; NotFound when it is gone."""
    body = _INFO.pack(0, 0, 0, 0, 0) + _name(name)
    return Request(_RTM_DELLINK, NLM_F_ACK, body, f"delete interface {name}")


def read_interface_stats(route_fd: int) -> tuple[LinkStats, ...]:
    """Counters of every link but lo in the namespace that the NETLINK_ROUTE socket `route_fd` was made in.

    `route_fd` stays the caller's; threads may share it.
    """
    with NetlinkSocket(fd=route_fd) as route:
        links = map(parse_link, route.dump(list_links()))
        return tuple(link.stats for link in links if link.ifindex != LOOPBACK_INDEX)


def _name(name: str) -> bytes:
    return attribute.pack_text(_IFLA_IFNAME, name)


def _mac(mac: str) -> bytes:
    return attribute.pack(_IFLA_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""


def _mtu(mtu: int) -> bytes:
    return attribute.pack_u32(_IFLA_MTU, mtu) if mtu else b""
