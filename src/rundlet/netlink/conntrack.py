"""Connection tracking over nfnetlink (linux/netfilter/nfnetlink_conntrack.h): forget connections.

A message is a `struct nfgenmsg` and CTA_* attributes, numbers in network byte order.
"""

import socket
import struct

from rundlet.netlink import attribute
from rundlet.netlink.message import NLM_F_ACK, Request

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_DELETE = 2
_TUPLE_ORIGINAL, _FILTER = 1, 25
_TUPLE_PROTOCOL = 2
_PROTOCOL_NUMBER, _PROTOCOL_DESTINATION_PORT = 1, 3
_FILTER_ORIGINAL_FLAGS = 1
# CTA_FILTER_FLAG: which members of the tuple must fit.
_BY_NUMBER, _BY_DESTINATION_PORT = 1 << 3, 1 << 5

_FAMILY_OF = {4: socket.AF_INET, 6: socket.AF_INET6}


def delete_connections(version: int, protocol: int, port: int) -> Request:
    """Forget all connections of IP `version` whose first packet went to `port`, of any address.

    InvalidArgument from kernels before 5.8, which know no filter here.
    """
    tuple_protocol = attribute.pack_nested(
        _TUPLE_PROTOCOL,
        attribute.pack_u8(_PROTOCOL_NUMBER, protocol),
        attribute.pack(_PROTOCOL_DESTINATION_PORT, port.to_bytes(2, "big")),
    )
    flags = attribute.pack_u32(_FILTER_ORIGINAL_FLAGS, _BY_NUMBER | _BY_DESTINATION_PORT)
    body = struct.pack("=BBH", _FAMILY_OF[version], 0, 0)
    body += attribute.pack_nested(_TUPLE_ORIGINAL, tuple_protocol)
    body += attribute.pack_nested(_FILTER, flags)
    purpose = f"forget connections of protocol {protocol} to port {port}"
    return Request(_SUBSYSTEM << 8 | _DELETE, NLM_F_ACK, body, purpose)
