"""nftables over nfnetlink (linux/netfilter/nf_tables.h): tables, chains, rules and their expressions.

A message is a `struct nfgenmsg` and NFTA_* attributes; changes go as a batch
that the kernel applies as a whole or not at all:

    NFNL_MSG_BATCH_BEGIN   NEWTABLE …   NEWCHAIN …   NEWRULE …   NFNL_MSG_BATCH_END

A rule is a list of expressions run in order on registers; the first one whose
comparison fails ends the rule.  Numbers are in network byte order.
"""

import socket
import struct
from collections.abc import Iterable

from rundlet.netlink import attribute
from rundlet.netlink.address import IpNetwork
from rundlet.netlink.message import NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Message, Request

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0, 1, 2, 3, 6

_FAMILY_INET = 1  # NFPROTO_INET: IPv4 and IPv6 in one table

_TABLE_NAME, _TABLE_USERDATA = 1, 6
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_TYPE = 1, 3, 4, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_LIST_ELEMENT, _EXPRESSION_NAME, _EXPRESSION_DATA = 1, 1, 2
_DATA_VALUE = 1

_REGISTER = 1  # NFT_REG_1, 16 bytes: room for an IPv6 address
_PAYLOAD_NETWORK_HEADER = 1
_META_NFPROTO = 15
_COMPARE_EQUAL, _COMPARE_NOT_EQUAL = 0, 1

POSTROUTING = 4  # NF_INET_POST_ROUTING
PRIORITY_SOURCE_NAT = 100

# libnftnl's userdata: (kind, length, value) with the comment first; nft(8) shows it.
_USERDATA_COMMENT = 0

# Offsets of the source and the destination address: RFC 791, RFC 8200.
_SOURCE_AT = {4: 12, 6: 8}
_DESTINATION_AT = {4: 16, 6: 24}
_PROTOCOL_OF = {4: socket.AF_INET, 6: socket.AF_INET6}  # NFPROTO_IPV4 and _IPV6 have the same numbers


def batch(*requests: Request) -> tuple[Request, ...]:
    """`requests` as one transaction, for NetlinkSocket.execute."""
    header = struct.pack(">BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM)
    begin = Request(_BATCH_BEGIN, 0, header, "begin an nftables transaction")
    end = Request(_BATCH_END, 0, header, "commit an nftables transaction")
    return (begin, *requests, end)


def get_table(table: str) -> Request:
    return _request(_GETTABLE, 0, f"read nftables table {table}", attribute.pack_text(_TABLE_NAME, table))


def parse_table_comment(message: Message) -> str:
    """The comment of the table that `get_table` found, "" without one."""
    userdata = attribute.parse(message.body[4:]).get(_TABLE_USERDATA, b"")
    if len(userdata) < 2 or userdata[0] != _USERDATA_COMMENT:
        return ""
    return attribute.read_text(userdata[2 : 2 + userdata[1]])


def new_table(table: str, comment: str) -> Request:
    """A table of family inet; AlreadyExists when there is one.  `comment` is at most 253 bytes."""
    text = comment.encode() + b"\0"
    userdata = bytes([_USERDATA_COMMENT, len(text)]) + text
    return _request(
        _NEWTABLE,
        NLM_F_CREATE | NLM_F_EXCL,
        f"create nftables table {table}",
        attribute.pack_text(_TABLE_NAME, table),
        attribute.pack(_TABLE_USERDATA, userdata),
    )


def delete_table(table: str) -> Request:
    """A table with all that is in it; NotFound when there is none."""
    name = attribute.pack_text(_TABLE_NAME, table)
    return _request(_DELTABLE, 0, f"delete nftables table {table}", name)


def new_nat_chain(table: str, chain: str, hook: int, priority: int) -> Request:
    """A base chain of type nat, policy accept."""
    return _request(
        _NEWCHAIN,
        NLM_F_CREATE,
        f"create nftables chain {table} {chain}",
        attribute.pack_text(_CHAIN_TABLE, table),
        attribute.pack_text(_CHAIN_NAME, chain),
        attribute.pack_nested(
            _CHAIN_HOOK,
            attribute.pack_u32_be(_HOOK_NUMBER, hook),
            attribute.pack_u32_be(_HOOK_PRIORITY, priority),
        ),
        attribute.pack_text(_CHAIN_TYPE, "nat"),
    )


def new_rule(table: str, chain: str, expressions: Iterable[bytes]) -> Request:
    """A rule at the end of `chain`."""
    return _request(
        _NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        f"add a rule to nftables chain {table} {chain}",
        attribute.pack_text(_RULE_TABLE, table),
        attribute.pack_text(_RULE_CHAIN, chain),
        attribute.pack_nested(_RULE_EXPRESSIONS, *expressions),
    )


def match_version(version: int) -> tuple[bytes, ...]:
    """Packets of IP `version` 4 or 6: in family inet, what addresses mean depends on it."""
    load = _expression("meta", attribute.pack_u32_be(1, _REGISTER), attribute.pack_u32_be(2, _META_NFPROTO))
    return (load, _compare(_COMPARE_EQUAL, bytes([_PROTOCOL_OF[version]])))


def match_source(network: IpNetwork) -> tuple[bytes, ...]:
    return _match_address(_SOURCE_AT[network.version], network, _COMPARE_EQUAL)


def match_other_destination(network: IpNetwork) -> tuple[bytes, ...]:
    """Packets that go anywhere but to `network`."""
    return _match_address(_DESTINATION_AT[network.version], network, _COMPARE_NOT_EQUAL)


def masquerade() -> tuple[bytes, ...]:
    """The verdict: give the packet the address of the interface that it leaves by."""
    return (_expression("masq"),)


def _match_address(offset: int, network: IpNetwork, operator: int) -> tuple[bytes, ...]:
    size = network.max_prefixlen // 8
    load = _expression(
        "payload",
        attribute.pack_u32_be(1, _REGISTER),
        attribute.pack_u32_be(2, _PAYLOAD_NETWORK_HEADER),
        attribute.pack_u32_be(3, offset),
        attribute.pack_u32_be(4, size),
    )
    mask = _expression(
        "bitwise",
        attribute.pack_u32_be(1, _REGISTER),
        attribute.pack_u32_be(2, _REGISTER),
        attribute.pack_u32_be(3, size),
        _data(4, network.netmask.packed),
        _data(5, bytes(size)),
    )
    return (load, mask, _compare(operator, network.network_address.packed))


def _compare(operator: int, value: bytes) -> bytes:
    register = attribute.pack_u32_be(1, _REGISTER)
    return _expression("cmp", register, attribute.pack_u32_be(2, operator), _data(3, value))


def _data(kind: int, value: bytes) -> bytes:
    return attribute.pack_nested(kind, attribute.pack(_DATA_VALUE, value))


def _expression(name: str, *attributes: bytes) -> bytes:
    return attribute.pack_nested(
        _LIST_ELEMENT,
        attribute.pack_text(_EXPRESSION_NAME, name),
        attribute.pack_nested(_EXPRESSION_DATA, *attributes),
    )


def _request(kind: int, flags: int, purpose: str, *attributes: bytes) -> Request:
    header = struct.pack("=BBH", _FAMILY_INET, 0, 0)
    return Request(_SUBSYSTEM << 8 | kind, flags | NLM_F_ACK, header + b"".join(attributes), purpose)
