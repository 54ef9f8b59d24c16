"""nftables over nfnetlink (linux/netfilter/nf_tables.h): transactions, tables, chains, rules.

A message is a `struct nfgenmsg` and NFTA_* attributes; changes go as a batch
that the kernel applies as a whole or not at all:

    NFNL_MSG_BATCH_BEGIN   NEWTABLE …   NEWCHAIN …   NEWRULE …   NFNL_MSG_BATCH_END

A rule is a list of expressions (`expression`) and may ask sets and maps (`nftset`).
Every change raises the ruleset's generation: a transaction that names the one it
was planned on is refused when somebody else was faster.  Numbers are in network
byte order.
"""

import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from rundlet.netlink import attribute
from rundlet.netlink.message import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    Message,
    Request,
)

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = 0, 1, 2, 3, 4
_NEWRULE, _GETRULE, _DELRULE, _GETGEN = 6, 7, 8, 16

FAMILY_INET = 1  # NFPROTO_INET: IPv4 and IPv6 in one table
FAMILY_IP4, FAMILY_IP6 = socket.AF_INET, socket.AF_INET6

_BATCH_GENERATION = 1
_GENERATION_ID = 1
_TABLE_NAME, _TABLE_USERDATA = 1, 6
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_TYPE = 1, 3, 4, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS, _RULE_USERDATA = 1, 2, 3, 4, 7

# NF_INET_PRE_ROUTING … and the priorities of enum nf_ip_hook_priorities.
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
PRIORITY_DESTINATION_NAT, PRIORITY_FILTER, PRIORITY_SOURCE_NAT = -100, 0, 100

# libnftnl's userdata: (kind, length, value) with the comment first; nft(8) shows it.
_USERDATA_COMMENT = 0


class Hook(NamedTuple):
    """Where the kernel calls a base chain; `kind` "filter" or "nat"."""

    kind: str
    number: int
    priority: int


class Rule(NamedTuple):
    handle: int
    comment: str


def batch(*requests: Request, generation: int | None = None) -> tuple[Request, ...]:
    """`requests` as one transaction, for NetlinkSocket.execute.

    With `generation` it is refused, as Unavailable, when that is not the ruleset's any more.
    """
    header = struct.pack(">BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM)
    planned = b"" if generation is None else attribute.pack_u32_be(_BATCH_GENERATION, generation)
    begin = Request(_BATCH_BEGIN, 0, header + planned, "begin an nftables transaction")
    end = Request(_BATCH_END, 0, header, "commit an nftables transaction")
    return (begin, *requests, end)


def get_generation() -> Request:
    return request(_GETGEN, NLM_F_ACK, "read the generation of the nftables ruleset")


def parse_generation(message: Message) -> int:
    return attribute.read_u32_be(attribute.parse(message.body[4:]).get(_GENERATION_ID))


def get_table(table: str) -> Request:
    return _request(_GETTABLE, 0, f"read nftables table {table}", attribute.pack_text(_TABLE_NAME, table))


def parse_table_comment(message: Message) -> str:
    """The comment of the table that `get_table` found, "" without one."""
    return read_comment(attribute.parse(message.body[4:]).get(_TABLE_USERDATA, b""))


def new_table(table: str, comment: str) -> Request:
    """A table of family inet; AlreadyExists when there is one.  `comment` is at most 253 bytes."""
    return _request(
        _NEWTABLE,
        NLM_F_CREATE | NLM_F_EXCL,
        f"create nftables table {table}",
        attribute.pack_text(_TABLE_NAME, table),
        attribute.pack(_TABLE_USERDATA, pack_comment(comment)),
    )


def delete_table(table: str) -> Request:
    """A table with all that is in it; NotFound when there is none."""
    name = attribute.pack_text(_TABLE_NAME, table)
    return _request(_DELTABLE, 0, f"delete nftables table {table}", name)


def new_chain(table: str, chain: str, hook: Hook | None = None) -> Request:
    """A chain, policy accept; without a `hook` it is one to jump to."""
    based = () if hook is None else (_pack_hook(hook), attribute.pack_text(_CHAIN_TYPE, hook.kind))
    return _request(
        _NEWCHAIN,
        NLM_F_CREATE,
        f"create nftables chain {table} {chain}",
        attribute.pack_text(_CHAIN_TABLE, table),
        attribute.pack_text(_CHAIN_NAME, chain),
        *based,
    )


def _pack_hook(hook: Hook) -> bytes:
    return attribute.pack_nested(
        _CHAIN_HOOK,
        attribute.pack_u32_be(_HOOK_NUMBER, hook.number),
        attribute.pack_u32_be(_HOOK_PRIORITY, hook.priority & 0xFFFF_FFFF),
    )


def get_chain(table: str, chain: str, family: int = FAMILY_INET) -> Request:
    """NotFound when there is no such chain."""
    names = attribute.pack_text(_CHAIN_TABLE, table) + attribute.pack_text(_CHAIN_NAME, chain)
    return request(_GETCHAIN, NLM_F_ACK, f"read nftables chain {table} {chain}", names, family=family)


def new_rule(table: str, chain: str, expressions: Iterable[bytes]) -> Request:
    """A rule at the end of `chain`."""
    return _request(
        _NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        f"add a rule to nftables chain {table} {chain}",
        *_rule_of(table, chain),
        attribute.pack_nested(_RULE_EXPRESSIONS, *expressions),
    )


def insert_rule(table: str, chain: str, expressions: Iterable[bytes], comment: str, family: int) -> Request:
    """A rule before all others of `chain`."""
    return request(
        _NEWRULE,
        NLM_F_CREATE | NLM_F_ACK,
        f"insert a rule into nftables chain {table} {chain}",
        *_rule_of(table, chain),
        attribute.pack_nested(_RULE_EXPRESSIONS, *expressions),
        attribute.pack(_RULE_USERDATA, pack_comment(comment)),
        family=family,
    )


def list_rules(table: str, chain: str, family: int) -> Request:
    """An unknown chain has no rules."""
    purpose = f"list the rules of nftables chain {table} {chain}"
    return request(_GETRULE, NLM_F_DUMP, purpose, *_rule_of(table, chain), family=family)


def parse_rule(message: Message) -> Rule:
    found = attribute.parse(message.body[4:])
    handle = int.from_bytes(found.get(_RULE_HANDLE, b""), "big")
    return Rule(handle, read_comment(found.get(_RULE_USERDATA, b"")))


def delete_rule(table: str, chain: str, handle: int, family: int) -> Request:
    named = attribute.pack(_RULE_HANDLE, handle.to_bytes(8, "big"))
    purpose = f"delete rule {handle} of nftables chain {table} {chain}"
    return request(_DELRULE, NLM_F_ACK, purpose, *_rule_of(table, chain), named, family=family)


def _rule_of(table: str, chain: str) -> tuple[bytes, bytes]:
    return attribute.pack_text(_RULE_TABLE, table), attribute.pack_text(_RULE_CHAIN, chain)


def pack_comment(comment: str) -> bytes:
    """Userdata as nft(8) writes and shows it; `comment` is at most 253 bytes."""
    text = comment.encode() + b"\0"
    return bytes([_USERDATA_COMMENT, len(text)]) + text


def read_comment(userdata: bytes) -> str:
    """ "" when there is none."""
    if len(userdata) < 2 or userdata[0] != _USERDATA_COMMENT:
        return ""
    return attribute.read_text(userdata[2 : 2 + userdata[1]])


def _request(kind: int, flags: int, purpose: str, *attributes: bytes) -> Request:
    return request(kind, flags | NLM_F_ACK, purpose, *attributes)


def request(kind: int, flags: int, purpose: str, *attributes: bytes, family: int = FAMILY_INET) -> Request:
    """A message of this subsystem; for the modules beside this one."""
    header = struct.pack("=BBH", family, 0, 0)
    return Request(_SUBSYSTEM << 8 | kind, flags, header + b"".join(attributes), purpose)
