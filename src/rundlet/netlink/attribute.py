"""Netlink attributes (netlink(7), rtnetlink(7)): type-length-value, nested at will.

    0        2        4               length   next multiple of 4
    | length | kind   | payload …     | zeros  |

Lengths and kinds are in host byte order, and so are rtnetlink's numbers;
nftables writes its numbers in network byte order, hence the `_be` forms.
"""

import struct
import sys

from rundlet.errors import DataLoss

_HEADER = struct.Struct("=HH")
_NESTED = 0x8000  # NLA_F_NESTED
_KIND_MASK = 0x3FFF  # NLA_TYPE_MASK: without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


def align(size_bytes: int) -> int:
    """NLA_ALIGN and NLMSG_ALIGN: the next multiple of 4."""
    return (size_bytes + 3) & ~3


def pack(kind: int, payload: bytes = b"") -> bytes:
    """One attribute, padded."""
    size = _HEADER.size + len(payload)
    return _HEADER.pack(size, kind) + payload + _PADDING[size & 3]


def pack_u8(kind: int, value: int) -> bytes:
    return pack(kind, struct.pack("=B", value))


def pack_u32(kind: int, value: int) -> bytes:
    return pack(kind, struct.pack("=I", value))


def pack_u32_be(kind: int, value: int) -> bytes:
    return pack(kind, struct.pack(">I", value))


def pack_text(kind: int, text: str) -> bytes:
    """A string with the NUL at its end that the kernel wants."""
    return pack(kind, text.encode() + b"\0")


def pack_nested(kind: int, *children: bytes) -> bytes:
    return pack(kind | _NESTED, b"".join(children))


def parse(data: bytes) -> dict[int, bytes]:
    """Attributes by kind, flags taken off; of a kind given twice the last one counts.

    Raises DataLoss when a length does not fit what is there.
    """
    return dict(parse_list(data))


def parse_list(data: bytes) -> list[tuple[int, bytes]]:
    """(kind, payload) of all attributes in their order, as `parse`."""
    found = []
    at = 0
    # Fewer bytes than a header at the end are padding, as in the kernel's own loop.
    while at + _HEADER.size <= len(data):
        size, kind = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            raise DataLoss(f"netlink attribute at byte {at}: length {size} in {len(data) - at} bytes")
        found.append((kind & _KIND_MASK, data[at + _HEADER.size : at + size]))
        at += align(size)
    return found


def read_u32(payload: bytes | None) -> int:
    """A host-order number of 4 bytes, 0 when absent; DataLoss when shorter."""
    if payload is None:
        return 0
    if len(payload) < 4:
        raise DataLoss(f"netlink attribute of {len(payload)} bytes where a 32-bit number belongs")
    return int(struct.unpack_from("=I", payload)[0])


def read_u32_be(payload: bytes | None) -> int:
    """As `read_u32`, in network byte order."""
    return int.from_bytes(read_u32(payload).to_bytes(4, sys.byteorder), "big")


def read_text(payload: bytes | None) -> str:
    """A string up to its NUL, "" when absent."""
    return "" if payload is None else payload.partition(b"\0")[0].decode("utf-8", "replace")
