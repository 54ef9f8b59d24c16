"""Netlink: what the kernel may answer, or a sender that is not the kernel; what we write is read the same."""

from collections.abc import Callable
from ipaddress import ip_interface

from rundlet.errors import Error
from rundlet.netlink import address, attribute, link, message, nftables, nftset, route, traffic
from rundlet.netlink.message import Message, Request
from tests.fuzz.mutation import of_bytes

_ATTRIBUTES = (
    attribute.pack_text(3, "eth0")
    + attribute.pack_u32(4, 1500)
    + attribute.pack_nested(18, attribute.pack_text(1, "veth"))
)
_SEEDED = (
    link.new_veth("a", "b", peer_netns_fd=3, mac="02:00:00:00:00:01", mtu=1500),
    address.new_address(2, ip_interface("10.0.0.2/24")),
    nftables.new_table("t", "c"),
    nftables.new_rule("t", "c", [b""]),
)
SEEDS = (
    *(message.encode(one, 7) for one in _SEEDED),
    message.encode(Request(16, 0, bytes(16) + _ATTRIBUTES, "x"), 1),
    message.encode(
        Request(2, message.NLM_F_ACK_TLVS, b"\xff" * 4 + bytes(16) + attribute.pack_text(1, "no"), "x"), 1
    )
    * 2,
)
MUTATE = of_bytes(
    (
        b"\x04\0",
        b"\x05\0",
        b"\xff\xff",
        b"\0\0\0\0",
        attribute.pack_text(3, "x"),
        attribute.pack_nested(2, bytes(8)),
    )
)
_READERS = (
    link.parse_link, address.parse_address, route.parse_route, nftables.parse_rule, nftables.parse_generation,
    nftables.parse_table_comment, nftset.parse_elements, traffic.parse_qdisc, message.decode_verdict,
)  # fmt: skip


def check(data: bytes) -> None:
    for one in message.decode(data):
        again = message.encode(Request(one.kind, one.flags, one.body, ""), one.sequence)
        assert message.decode(again) == [one._replace(flags=one.flags | message.NLM_F_REQUEST)]
        for reader in (*_READERS, _check_attributes):
            _read(reader, one)


def _check_attributes(one: Message) -> None:
    children = attribute.parse_list(one.body)
    written = b"".join(attribute.pack(kind, payload) for kind, payload in children)
    assert attribute.parse_list(written) == children


def _read(reader: Callable[[Message], object], one: Message) -> None:
    """Each reader may refuse it; none may fail otherwise."""
    try:
        reader(one)
    except Error:
        pass
