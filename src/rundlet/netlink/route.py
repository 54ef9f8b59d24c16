"""Routes over rtnetlink (rtnetlink(7), linux/rtnetlink.h).

A `struct rtmsg` and RTA_* attributes:

    0        1         2         3     4       5          6       7      8       12
    | family | dst len | src len | tos | table | protocol | scope | type | flags | attributes …
"""

import ipaddress
import socket
import struct
from typing import NamedTuple

from rundlet.errors import DataLoss
from rundlet.netlink import attribute
from rundlet.netlink.address import IpAddress, IpNetwork, family_of
from rundlet.netlink.message import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Message, Request

_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26

_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6
_RTA_METRICS = 8
_RTA_TABLE = 15
_RTAX_MTU = 2
_RTAX_ADVMSS = 8

TABLE_MAIN = 254
SCOPE_UNIVERSE = 0
SCOPE_LINK = 253
_PROTOCOL_BOOT = 3  # what ip(8) gives by default
_UNICAST = 1

_INFO = struct.Struct("=BBBBBBBBI")
_EVERYTHING: dict[int, IpNetwork] = {
    socket.AF_INET: ipaddress.IPv4Network("0.0.0.0/0"),
    socket.AF_INET6: ipaddress.IPv6Network("::/0"),
}


class Route(NamedTuple):
    """A unicast route through link `ifindex`, by way of `gateway` or, None, straight to the link.

    `mtu`, `advmss` and `priority` 0 leave the kernel's own.
    """

    ifindex: int
    destination: IpNetwork
    gateway: IpAddress | None = None
    scope: int = SCOPE_UNIVERSE
    table: int = TABLE_MAIN
    priority: int = 0
    mtu: int = 0
    advmss: int = 0


def new_route(route: Route) -> Request:
    """Add `route`; AlreadyExists when there is one to the same destination with the same priority."""
    info = _INFO.pack(
        family_of(route.destination),
        route.destination.prefixlen,
        0,
        0,
        0,  # RT_TABLE_UNSPEC: RTA_TABLE has room for all numbers
        _PROTOCOL_BOOT,
        route.scope,
        _UNICAST,
        0,
    )
    body = info + attribute.pack_u32(_RTA_TABLE, route.table) + attribute.pack_u32(_RTA_OIF, route.ifindex)
    if route.destination.prefixlen:
        body += attribute.pack(_RTA_DST, route.destination.network_address.packed)
    if route.gateway is not None:
        body += attribute.pack(_RTA_GATEWAY, route.gateway.packed)
    if route.priority:
        body += attribute.pack_u32(_RTA_PRIORITY, route.priority)
    body += _pack_metrics(route)
    by_way_of = f" by way of {route.gateway}" if route.gateway else ""
    purpose = f"add the route to {route.destination}{by_way_of}"
    return Request(_RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body, purpose)


def _pack_metrics(route: Route) -> bytes:
    metrics = [(_RTAX_MTU, route.mtu), (_RTAX_ADVMSS, route.advmss)]
    packed = [attribute.pack_u32(kind, value) for kind, value in metrics if value]
    return attribute.pack_nested(_RTA_METRICS, *packed) if packed else b""


def list_routes(family: int, table: int = TABLE_MAIN) -> Request:
    """The routes of one address family in one table."""
    body = _INFO.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + attribute.pack_u32(_RTA_TABLE, table)
    return Request(_RTM_GETROUTE, NLM_F_DUMP, body, "list routes")


def find_route(destination: IpAddress) -> Request:
    """The route that a packet to `destination` would take; FailedPrecondition when there is none."""
    info = _INFO.pack(family_of(destination), destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body = info + attribute.pack(_RTA_DST, destination.packed)
    return Request(_RTM_GETROUTE, NLM_F_ACK, body, f"find the route to {destination}")


def parse_route(message: Message) -> Route:
    """The route that a RTM_NEWROUTE message describes; DataLoss when it is cut short or no IP route."""
    if len(message.body) < _INFO.size:
        raise DataLoss("netlink route message: header cut short")
    family, prefix, _, _, table, _, scope, _, _ = _INFO.unpack_from(message.body)
    if family not in _EVERYTHING:
        raise DataLoss(f"netlink route message: address family {family}")
    found = attribute.parse(message.body[_INFO.size :])
    metrics = attribute.parse(found.get(_RTA_METRICS, b""))
    try:
        destination = (
            ipaddress.ip_network((found[_RTA_DST], prefix)) if _RTA_DST in found else _EVERYTHING[family]
        )
        gateway = ipaddress.ip_address(found[_RTA_GATEWAY]) if _RTA_GATEWAY in found else None
    except ValueError as error:
        raise DataLoss(f"netlink route message: {error}") from error
    return Route(
        ifindex=attribute.read_u32(found.get(_RTA_OIF)),
        destination=destination,
        gateway=gateway,
        scope=scope,
        table=attribute.read_u32(found.get(_RTA_TABLE)) or table,
        priority=attribute.read_u32(found.get(_RTA_PRIORITY)),
        mtu=attribute.read_u32(metrics.get(_RTAX_MTU)),
        advmss=attribute.read_u32(metrics.get(_RTAX_ADVMSS)),
    )
