"""Traffic control over rtnetlink (tc(8), linux/pkt_sched.h, linux/pkt_cls.h): rates of a link.

A message is a `struct tcmsg` and TCA_* attributes:

    0        4       8        12       16     20
    | family | index | handle | parent | info | attributes …

A token bucket filter (tbf) lets `rate` bytes a second through and `burst` bytes at
once; what waits longer than its queue has room for is dropped.  It acts on what a
link sends: what a link receives is redirected to an ifb device first.
"""

import struct

from rundlet.errors import DataLoss
from rundlet.netlink import attribute
from rundlet.netlink.message import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Message, Request

_RTM_NEWQDISC = 36
_RTM_GETQDISC = 38
_RTM_NEWTFILTER = 44

_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_TBF_PARMS, _TCA_TBF_RATE64, _TCA_TBF_BURST = 1, 4, 6
_TCA_U32_SEL, _TCA_U32_ACT = 5, 7
_TCA_ACT_KIND, _TCA_ACT_OPTIONS = 1, 2
_TCA_MIRRED_PARMS = 2
_TCA_EGRESS_REDIR = 1
_TC_ACT_STOLEN = 4
_TC_U32_TERMINAL = 1

_ROOT = 0xFFFF_FFFF
_INGRESS = 0xFFFF_FFF1
_INGRESS_HANDLE = 0xFFFF_0000
_FIRST_HANDLE = 1 << 16
_ETH_P_ALL = 0x0003

_INFO = struct.Struct("=BxxxiIII")
# struct tc_ratespec: cell log, link layer (1 is Ethernet), overhead, cell align, mpu, rate.
_RATE = struct.Struct("=BBHhHI")
# struct tc_tbf_qopt behind its two rates: limit, buffer, mtu.
_TBF_REST = struct.Struct("=III")
# struct tc_u32_sel with one key: flags, offshift, keys, offmask, off, offoff, hoff, hmask; mask, value, off, offmask.
_MATCH_ALL = struct.pack("=BBBxHHhhI", _TC_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + struct.pack(
    "=IIii", 0, 0, 0, 0
)
# struct tc_mirred: index, capabilities, action, references, bindings; kind of redirection, to which link.
_MIRRED = struct.Struct("=IIiiiii")
_U32_MAX = (1 << 32) - 1


def new_token_bucket(ifindex: int, *, rate: int, burst: int, limit: int) -> Request:
    """Bound what link `ifindex` sends to `rate` bytes a second; `burst` and `limit` (the queue) in bytes.

    Unimplemented or NotFound where the kernel has no tbf.
    """
    spec = _RATE.pack(0, 1, 0, -1, 0, min(rate, _U32_MAX))
    parameters = spec + bytes(_RATE.size) + _TBF_REST.pack(min(limit, _U32_MAX), 0, 0)
    options = [
        attribute.pack(_TCA_TBF_PARMS, parameters),
        attribute.pack_u32(_TCA_TBF_BURST, min(burst, _U32_MAX)),
    ]
    if rate > _U32_MAX:
        options.append(attribute.pack(_TCA_TBF_RATE64, struct.pack("=Q", rate)))
    return _new_qdisc(ifindex, "tbf", _FIRST_HANDLE, _ROOT, attribute.pack_nested(_TCA_OPTIONS, *options))


def new_ingress(ifindex: int) -> Request:
    """Where filters for what link `ifindex` receives can stand."""
    return _new_qdisc(ifindex, "ingress", _INGRESS_HANDLE, _INGRESS)


def redirect_received(ifindex: int, target: int) -> Request:
    """Send all that link `ifindex` receives to link `target`; after `new_ingress`."""
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _TCA_EGRESS_REDIR, target)
    action = attribute.pack_nested(
        1,  # the first and only action
        attribute.pack_text(_TCA_ACT_KIND, "mirred"),
        attribute.pack_nested(_TCA_ACT_OPTIONS, attribute.pack(_TCA_MIRRED_PARMS, mirred)),
    )
    options = attribute.pack_nested(
        _TCA_OPTIONS, attribute.pack(_TCA_U32_SEL, _MATCH_ALL), attribute.pack_nested(_TCA_U32_ACT, action)
    )
    protocol = int.from_bytes(_ETH_P_ALL.to_bytes(2, "big"), "little")
    body = _INFO.pack(0, ifindex, 0, _INGRESS_HANDLE, 1 << 16 | protocol)
    body += attribute.pack_text(_TCA_KIND, "u32") + options
    purpose = f"redirect what link {ifindex} receives to link {target}"
    return Request(_RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body, purpose)


def list_qdiscs() -> Request:
    return Request(_RTM_GETQDISC, NLM_F_DUMP, _INFO.pack(0, 0, 0, 0, 0), "list queueing disciplines")


def parse_qdisc(message: Message) -> tuple[int, str]:
    """The link's index, and the kind ("tbf", "ingress" …); DataLoss when it is cut short."""
    if len(message.body) < _INFO.size:
        raise DataLoss("netlink queueing discipline message: header cut short")
    index = int(_INFO.unpack_from(message.body)[1])
    return index, attribute.read_text(attribute.parse(message.body[_INFO.size :]).get(_TCA_KIND))


def _new_qdisc(ifindex: int, kind: str, handle: int, parent: int, options: bytes = b"") -> Request:
    body = _INFO.pack(0, ifindex, handle, parent, 0) + attribute.pack_text(_TCA_KIND, kind) + options
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    return Request(_RTM_NEWQDISC, flags, body, f"set queueing discipline {kind} of link {ifindex}")
