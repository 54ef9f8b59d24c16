"""nftables sets and maps, and their elements (linux/netfilter/nf_tables.h).

An element is a key, in a map with a value, and a comment that says whose it is.
A key of several fields is a concatenation (`expression.concatenate`); in an
interval set every field of it has a first and a last value.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rundlet.netlink import attribute
from rundlet.netlink.expression import pack_data
from rundlet.netlink.message import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Message, Request
from rundlet.netlink.nftables import pack_comment, read_comment, request

_NEWSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM = 9, 12, 13, 14

_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_SIZE = 1, 2, 3, 4, 5
_SET_DATA_TYPE, _SET_DATA_SIZE, _SET_DESCRIPTION, _SET_ID = 6, 7, 9, 10
_DESCRIPTION_CONCAT, _LIST_ELEMENT, _FIELD_SIZE = 2, 1, 1
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _DATA, _USERDATA, _KEY_END = 1, 2, 6, 10
_DATA_VALUE = 1

_INTERVAL, _MAP, _CONCAT = 0x04, 0x08, 0x80

# Only nft(8) reads the types, to show elements: six bits a field (enum datatypes of nftables).
_TYPE_BITS = 6


class Field(NamedTuple):
    """The kind of a field: its number in nft(8) and its size in bytes."""

    type: int
    size_bytes: int


IP4, IP6, PROTOCOL, PORT, IFNAME = Field(7, 4), Field(8, 16), Field(12, 1), Field(13, 2), Field(41, 16)
SLOT = Field(4, 4)
ADDRESS = {4: IP4, 6: IP6}


class SetPlan(NamedTuple):
    """A set, or with `data` a map; with `interval` of ranges."""

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] = ()
    interval: bool = False


class Element(NamedTuple):
    """`value` b"" in sets; `key_end` b"" but in interval sets."""

    key: bytes
    value: bytes = b""
    comment: str = ""
    key_end: bytes = b""


def new_set(table: str, plan: SetPlan) -> Request:
    flags = (_MAP if plan.data else 0) | (_INTERVAL | _CONCAT if plan.interval else 0)
    parts = [
        attribute.pack_text(_SET_TABLE, table),
        attribute.pack_text(_SET_NAME, plan.name),
        attribute.pack_u32_be(_SET_FLAGS, flags),
        attribute.pack_u32_be(_SET_KEY_TYPE, _type_of(plan.key)),
        attribute.pack_u32_be(_SET_KEY_SIZE, _size_of(plan.key)),
        attribute.pack_u32_be(_SET_ID, 1),
    ]
    if plan.data:
        parts.append(attribute.pack_u32_be(_SET_DATA_TYPE, _type_of(plan.data)))
        parts.append(attribute.pack_u32_be(_SET_DATA_SIZE, _size_of(plan.data)))
    if plan.interval:
        sizes = (
            attribute.pack_nested(_LIST_ELEMENT, attribute.pack_u32_be(_FIELD_SIZE, field.size_bytes))
            for field in plan.key
        )
        parts.append(
            attribute.pack_nested(_SET_DESCRIPTION, attribute.pack_nested(_DESCRIPTION_CONCAT, *sizes))
        )
    return request(_NEWSET, NLM_F_CREATE | NLM_F_ACK, f"create nftables set {table} {plan.name}", *parts)


def add_elements(table: str, name: str, elements: Sequence[Element], *, exclusive: bool = False) -> Request:
    """AlreadyExists for a key that is there, in sets and for equal values only when `exclusive`."""
    flags = NLM_F_CREATE | NLM_F_ACK | (NLM_F_EXCL if exclusive else 0)
    return _elements(_NEWSETELEM, flags, "add elements to", table, name, elements)


def delete_elements(table: str, name: str, keys: Iterable[Element]) -> Request:
    """NotFound when one of them is not there."""
    bare = [element._replace(value=b"", comment="") for element in keys]
    return _elements(_DELSETELEM, NLM_F_ACK, "delete elements of", table, name, bare)


def get_element(table: str, name: str, key: bytes) -> Request:
    return _elements(_GETSETELEM, NLM_F_ACK, "read an element of", table, name, [Element(key)])


def list_elements(table: str, name: str) -> Request:
    """For `NetlinkSocket.dump`; NotFound when there is no such set."""
    names = attribute.pack_text(_LIST_TABLE, table) + attribute.pack_text(_LIST_SET, name)
    return request(_GETSETELEM, NLM_F_DUMP, f"list the elements of nftables set {table} {name}", names)


def parse_elements(message: Message) -> list[Element]:
    """The elements in one answer to `get_element` or `list_elements`."""
    found = attribute.parse(message.body[struct.calcsize("=BBH") :])
    return [_parse(payload) for _, payload in attribute.parse_list(found.get(_LIST_ELEMENTS, b""))]


def _parse(payload: bytes) -> Element:
    found = attribute.parse(payload)

    def value(kind: int) -> bytes:
        return attribute.parse(found.get(kind, b"")).get(_DATA_VALUE, b"")

    return Element(value(_KEY), value(_DATA), read_comment(found.get(_USERDATA, b"")), value(_KEY_END))


def _elements(
    kind: int, flags: int, verb: str, table: str, name: str, elements: Iterable[Element]
) -> Request:
    return request(
        kind,
        flags,
        f"{verb} nftables set {table} {name}",
        attribute.pack_text(_LIST_TABLE, table),
        attribute.pack_text(_LIST_SET, name),
        attribute.pack_nested(_LIST_ELEMENTS, *map(_pack, elements)),
    )


def _pack(element: Element) -> bytes:
    parts = [pack_data(_KEY, element.key)]
    if element.key_end:
        parts.append(pack_data(_KEY_END, element.key_end))
    if element.value:
        parts.append(pack_data(_DATA, element.value))
    if element.comment:
        parts.append(attribute.pack(_USERDATA, pack_comment(element.comment)))
    return attribute.pack_nested(_LIST_ELEMENT, *parts)


def _type_of(fields: Iterable[Field]) -> int:
    number = 0
    for field in fields:
        number = number << _TYPE_BITS | field.type
    return number


def _size_of(fields: Iterable[Field]) -> int:
    """Each field fills whole registers."""
    return sum(field.size_bytes + -field.size_bytes % 4 for field in fields)
