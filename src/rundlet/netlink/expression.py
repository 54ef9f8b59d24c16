"""The expressions that nftables rules are made of (linux/netfilter/nf_tables.h).

They run in order on registers of 4 bytes each, counted from 0 here: a load fills
as many as its value needs, a comparison or look-up that fails ends the rule, a
verdict ends the chain.  Values side by side in registers are a concatenation, as
sets and maps take it:

    ip daddr . meta l4proto . th dport       registers 0, 1, 2 (IPv6: 0–3, 4, 5)
"""

import socket
import sys
from collections.abc import Iterable

from rundlet.netlink import attribute
from rundlet.netlink.address import IpNetwork

_REGISTERS_FROM = 8  # NFT_REG32_00
_LIST_ELEMENT, _NAME, _DATA = 1, 1, 2
_VALUE, _VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2

_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_IIFNAME, _OIFNAME, _NFPROTO, _L4PROTO = 6, 7, 15, 16
_CT_STATE, _CT_STATUS, _CT_PROTO_DST = 0, 2, 12
_ESTABLISHED_RELATED = 1 << 1 | 1 << 2
_CT_ORIGINAL = 0
_IPS_DST_NAT = 1 << 5
_FIB_ADDRESS_TYPE, _FIB_DESTINATION = 3, 1 << 1
_RTN_LOCAL = 2
_NAT_DESTINATION = 1
_EQUAL, _NOT_EQUAL = 0, 1
_RANDOM = 1
_DROP, _ACCEPT, _JUMP = 0, 1, 0xFFFF_FFFD

# Offsets of the source and the destination address: RFC 791, RFC 8200.
_SOURCE_AT = {4: 12, 6: 8}
_DESTINATION_AT = {4: 16, 6: 24}
_SIZE_OF = {4: 4, 6: 16}
_PROTOCOL_OF = {4: socket.AF_INET, 6: socket.AF_INET6}  # NFPROTO_IPV4 and _IPV6 have the same numbers
_IFNAMSIZ = 16


def address_registers(version: int) -> int:
    """How many registers an address fills."""
    return _SIZE_OF[version] // 4


def load_source(version: int, register: int = 0) -> bytes:
    return _payload(_NETWORK_HEADER, _SOURCE_AT[version], _SIZE_OF[version], register)


def load_destination(version: int, register: int = 0) -> bytes:
    return _payload(_NETWORK_HEADER, _DESTINATION_AT[version], _SIZE_OF[version], register)


def load_protocol(register: int = 0) -> bytes:
    """The transport protocol's number, one byte."""
    return _meta(_L4PROTO, register)


def load_destination_port(register: int = 0) -> bytes:
    """At the same place in TCP, UDP and SCTP."""
    return _payload(_TRANSPORT_HEADER, 2, 2, register)


def load_original_port(register: int = 0) -> bytes:
    """The destination port that the connection's first packet had before any translation."""
    direction = attribute.pack(3, bytes([_CT_ORIGINAL]))
    return _expression("ct", _register(1, register), attribute.pack_u32_be(2, _CT_PROTO_DST), direction)


def load_random(modulus: int, register: int = 0) -> bytes:
    """A random number below `modulus`, as `pack_number` has it in keys."""
    return _expression(
        "numgen",
        _register(1, register),
        attribute.pack_u32_be(2, modulus),
        attribute.pack_u32_be(3, _RANDOM),
    )


def pack_number(number: int) -> bytes:
    """A number of this machine, which fills one register."""
    return number.to_bytes(4, sys.byteorder)


def load_input_name(register: int = 0) -> bytes:
    return _meta(_IIFNAME, register)


def load_output_name(register: int = 0) -> bytes:
    return _meta(_OIFNAME, register)


def pack_name(name: str) -> bytes:
    """An interface's name as it stands in registers and set elements."""
    return name.encode().ljust(_IFNAMSIZ, b"\0")


def match_version(version: int) -> tuple[bytes, ...]:
    """Packets of IP `version` 4 or 6: in family inet, what addresses mean depends on it."""
    return (_meta(_NFPROTO, 0), _compare(_EQUAL, bytes([_PROTOCOL_OF[version]])))


def match_source(network: IpNetwork) -> tuple[bytes, ...]:
    return (load_source(network.version), *_match_network(network, _EQUAL))


def match_other_source(network: IpNetwork) -> tuple[bytes, ...]:
    return (load_source(network.version), *_match_network(network, _NOT_EQUAL))


def match_destination(network: IpNetwork) -> tuple[bytes, ...]:
    return (load_destination(network.version), *_match_network(network, _EQUAL))


def match_other_destination(network: IpNetwork) -> tuple[bytes, ...]:
    """Packets that go anywhere but to `network`."""
    return (load_destination(network.version), *_match_network(network, _NOT_EQUAL))


def match_local_destination() -> tuple[bytes, ...]:
    """Packets to an address of this host."""
    fib = _expression(
        "fib",
        _register(1, 0),
        attribute.pack_u32_be(2, _FIB_ADDRESS_TYPE),
        attribute.pack_u32_be(3, _FIB_DESTINATION),
    )
    return (fib, _compare(_EQUAL, _RTN_LOCAL.to_bytes(4, sys.byteorder)))


def match_translated(translated: bool = True) -> tuple[bytes, ...]:
    """Packets of connections whose destination was (not) translated: ct status dnat."""
    load = _expression("ct", _register(1, 0), attribute.pack_u32_be(2, _CT_STATUS))
    operator = _NOT_EQUAL if translated else _EQUAL
    return (load, _mask(_IPS_DST_NAT.to_bytes(4, sys.byteorder)), _compare(operator, bytes(4)))


def match_answers() -> tuple[bytes, ...]:
    """Packets of connections that are known, or belong to one: ct state established,related."""
    load = _expression("ct", _register(1, 0), attribute.pack_u32_be(2, _CT_STATE))
    mask = _ESTABLISHED_RELATED.to_bytes(4, sys.byteorder)
    return (load, _mask(mask), _compare(_NOT_EQUAL, bytes(4)))


def match_other_input(name: str) -> tuple[bytes, ...]:
    """Packets that came in by any interface but `name`."""
    return (load_input_name(), _compare(_NOT_EQUAL, pack_name(name)))


def look_up(name: str, *, into: int | None = None) -> bytes:
    """Packets whose registers from 0 on are a key of set `name`; a map's value goes into `into`."""
    result = () if into is None else (_register(3, into),)
    return _expression("lookup", attribute.pack_text(1, name), _register(2, 0), *result)


def translate_destination(version: int) -> bytes:
    """The verdict: on to the address and port that a map has put into the registers from 0 on."""
    return _expression(
        "nat",
        attribute.pack_u32_be(1, _NAT_DESTINATION),
        attribute.pack_u32_be(2, _PROTOCOL_OF[version]),
        _register(3, 0),
        _register(5, address_registers(version)),
    )


def redirect() -> bytes:
    """The verdict: to this host, at the port that a map has put into register 0."""
    return _expression("redir", _register(1, 0))


def masquerade() -> tuple[bytes, ...]:
    """The verdict: give the packet the address of the interface that it leaves by."""
    return (_expression("masq"),)


def drop() -> bytes:
    return _verdict(_DROP)


def accept() -> bytes:
    return _verdict(_ACCEPT)


def jump(chain: str) -> bytes:
    return _verdict(_JUMP, attribute.pack_text(_VERDICT_CHAIN, chain))


def pack_data(kind: int, value: bytes) -> bytes:
    return attribute.pack_nested(kind, attribute.pack(_VALUE, value))


def concatenate(fields: Iterable[bytes]) -> bytes:
    """A key or value of several fields, each filled up to whole registers."""
    return b"".join(field + bytes(-len(field) % 4) for field in fields)


def _match_network(network: IpNetwork, operator: int) -> tuple[bytes, ...]:
    return (_mask(network.netmask.packed), _compare(operator, network.network_address.packed))


def _mask(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        _register(1, 0),
        _register(2, 0),
        attribute.pack_u32_be(3, len(mask)),
        pack_data(4, mask),
        pack_data(5, bytes(len(mask))),
    )


def _compare(operator: int, value: bytes) -> bytes:
    return _expression("cmp", _register(1, 0), attribute.pack_u32_be(2, operator), pack_data(3, value))


def _meta(key: int, register: int) -> bytes:
    return _expression("meta", _register(1, register), attribute.pack_u32_be(2, key))


def _payload(base: int, offset: int, size: int, register: int) -> bytes:
    numbers = (base, offset, size)
    return _expression(
        "payload",
        _register(1, register),
        *(attribute.pack_u32_be(kind, number) for kind, number in enumerate(numbers, 2)),
    )


def _verdict(code: int, *chain: bytes) -> bytes:
    verdict = attribute.pack_nested(_VERDICT, attribute.pack_u32_be(_VERDICT_CODE, code), *chain)
    return _expression("immediate", attribute.pack_u32_be(1, 0), attribute.pack_nested(2, verdict))


def _register(kind: int, number: int) -> bytes:
    return attribute.pack_u32_be(kind, _REGISTERS_FROM + number)


def _expression(name: str, *attributes: bytes) -> bytes:
    return attribute.pack_nested(
        _LIST_ELEMENT, attribute.pack_text(_NAME, name), attribute.pack_nested(_DATA, *attributes)
    )
