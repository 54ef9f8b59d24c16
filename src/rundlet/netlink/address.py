"""IP addresses of links over rtnetlink (rtnetlink(7), linux/if_addr.h).

A `struct ifaddrmsg` and IFA_* attributes:

    0        1        2       3       4       8
    | family | prefix | flags | scope | index | attributes …
"""

import ipaddress
import socket
import struct
from typing import NamedTuple

from rundlet.errors import DataLoss
from rundlet.netlink import attribute
from rundlet.netlink.message import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Message, Request

_RTM_NEWADDR = 20
_RTM_DELADDR = 21
_RTM_GETADDR = 22

_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_IFA_FLAGS = 8

_IFA_F_NODAD = 0x02
_IFA_F_NOPREFIXROUTE = 0x200
_SCOPE_LINK = 253

_INFO = struct.Struct("=BBBBI")

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}


class Address(NamedTuple):
    """An address with its prefix length on the link `ifindex`; `scope` 0 is global, 253 the link."""

    ifindex: int
    ip: IpInterface
    scope: int

    @property
    def link_local(self) -> bool:
        return self.scope == _SCOPE_LINK


def family_of(ip: IpAddress | IpInterface | IpNetwork) -> int:
    return socket.AF_INET if ip.version == 4 else socket.AF_INET6


def new_address(ifindex: int, ip: IpInterface, *, connected: bool = True) -> Request:
    """Give link `ifindex` the address `ip`; AlreadyExists when it has it.

    Not `connected`, no route to its subnet comes with it.
    Duplicate address detection is off, as the address comes from a pool that
    gives it once: an IPv6 address can be used at once.
    """
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    body = _body(ifindex, ip)
    if not connected:
        # The attribute takes the place of the header's flags.
        body += attribute.pack_u32(
            _IFA_FLAGS, _IFA_F_NOPREFIXROUTE | (_IFA_F_NODAD if ip.version == 6 else 0)
        )
    return Request(_RTM_NEWADDR, flags, body, f"add address {ip} to link {ifindex}")


def delete_address(ifindex: int, ip: IpInterface) -> Request:
    return Request(_RTM_DELADDR, NLM_F_ACK, _body(ifindex, ip), f"delete address {ip} of link {ifindex}")


def list_addresses(ifindex: int = 0) -> Request:
    """The addresses of link `ifindex`, or of all links."""
    return Request(
        _RTM_GETADDR, NLM_F_DUMP, _INFO.pack(0, 0, 0, 0, ifindex), f"list the addresses of link {ifindex}"
    )


def parse_address(message: Message) -> Address:
    """The address that a RTM_NEWADDR message describes; DataLoss when it is cut short."""
    if len(message.body) < _INFO.size:
        raise DataLoss("netlink address message: header cut short")
    family, prefix, _flags, scope, index = _INFO.unpack_from(message.body)
    found = attribute.parse(message.body[_INFO.size :])
    # IFA_ADDRESS is the far end on a point-to-point link; IPv6 has no IFA_LOCAL elsewhere.
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, b"")
    if len(packed) != _SIZES.get(family):
        raise DataLoss(f"netlink address message: {len(packed)} bytes in family {family}")
    return Address(index, _interface(packed, prefix), scope)


def _interface(packed: bytes, prefix: int) -> IpInterface:
    try:
        return ipaddress.ip_interface((packed, prefix))
    except ValueError as error:
        raise DataLoss(f"netlink address message: {error}") from error


def _body(ifindex: int, ip: IpInterface) -> bytes:
    info = _INFO.pack(family_of(ip), ip.network.prefixlen, _IFA_F_NODAD if ip.version == 6 else 0, 0, ifindex)
    addresses = attribute.pack(_IFA_LOCAL, ip.packed) + attribute.pack(_IFA_ADDRESS, ip.packed)
    # RFC 3021: a /31 and a /32 have no broadcast address.
    if ip.version == 4 and ip.network.prefixlen < 31:
        addresses += attribute.pack(_IFA_BROADCAST, ip.network.broadcast_address.packed)
    return info + addresses
