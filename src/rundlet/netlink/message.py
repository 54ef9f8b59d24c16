"""Netlink messages (netlink(7)): a header, the family's own header, attributes.

    0         4      6       8          12        16
    | length  | kind | flags | sequence | port id | body …

Several messages, each padded to 4 bytes, may share one datagram.  The kernel
answers a request that asks for it with NLMSG_ERROR, whose body is

    | -errno (0 is an acknowledgement) | header of the request | NLMSGERR_ATTR_* …
"""

import errno
import os
import struct
from typing import NamedTuple

from rundlet import errors
from rundlet.netlink import attribute

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_ACK_TLVS = 0x200  # in an answer: attributes follow

NLMSG_ERROR = 2
NLMSG_DONE = 3

_NLMSGERR_ATTR_MSG = 1

_HEADER = struct.Struct("=IHHII")
_ERRNO = struct.Struct("=i")


class Request(NamedTuple):
    """What to ask, with all its NLM_F_ flags but NLM_F_REQUEST.

    `purpose` ("create bridge cni0") goes into the error when it is refused.
    """

    kind: int
    flags: int
    body: bytes
    purpose: str


class Message(NamedTuple):
    """What came back."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class Verdict(NamedTuple):
    """An NLMSG_ERROR: `errno` 0 means done; `reason` is the kernel's own sentence, if it gave one."""

    errno: int
    reason: str


def encode(request: Request, sequence: int) -> bytes:
    """The message of `request`, padded; the port id is left for the kernel to know."""
    size = _HEADER.size + len(request.body)
    header = _HEADER.pack(size, request.kind, request.flags | NLM_F_REQUEST, sequence, 0)
    return header + request.body + b"\0" * (attribute.align(size) - size)


def decode(data: bytes) -> list[Message]:
    """The messages of one datagram; DataLoss when it is cut short."""
    found = []
    at = 0
    while at < len(data):
        if at + _HEADER.size > len(data):
            raise errors.DataLoss(f"netlink message at byte {at}: header cut short")
        size, kind, flags, sequence, _port = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            raise errors.DataLoss(f"netlink message at byte {at}: length {size} in {len(data) - at} bytes")
        found.append(Message(kind, flags, sequence, data[at + _HEADER.size : at + size]))
        at += attribute.align(size)
    return found


def decode_verdict(message: Message) -> Verdict:
    """The errno of an NLMSG_ERROR or NLMSG_DONE, with the extended acknowledgement's text."""
    if len(message.body) < _ERRNO.size:
        # NLMSG_DONE of old kernels has no body.
        if message.kind == NLMSG_DONE:
            return Verdict(0, "")
        raise errors.DataLoss("netlink answer: error code cut short")
    code = -_ERRNO.unpack_from(message.body)[0]
    if code == 0 or message.kind != NLMSG_ERROR or not message.flags & NLM_F_ACK_TLVS:
        return Verdict(code, "")
    # The socket asks for capped answers: of the request only the header is repeated.
    attributes = attribute.parse(message.body[_ERRNO.size + _HEADER.size :])
    return Verdict(code, attribute.read_text(attributes.get(_NLMSGERR_ATTR_MSG)))


_CLASSES: dict[int, type[errors.Error]] = {
    errno.EEXIST: errors.AlreadyExists,
    errno.ENODEV: errors.NotFound,
    errno.ENOENT: errors.NotFound,
    errno.ESRCH: errors.NotFound,
    errno.EADDRNOTAVAIL: errors.NotFound,
    errno.EPERM: errors.PermissionDenied,
    errno.EACCES: errors.PermissionDenied,
    errno.EINVAL: errors.InvalidArgument,
    errno.ERANGE: errors.InvalidArgument,
    errno.EOPNOTSUPP: errors.Unimplemented,
    errno.EAFNOSUPPORT: errors.Unimplemented,
    errno.EPROTONOSUPPORT: errors.Unimplemented,
    errno.ERESTART: errors.Unavailable,  # the nftables ruleset has changed since it was read
    errno.EBUSY: errors.FailedPrecondition,
    errno.ENETUNREACH: errors.FailedPrecondition,
    errno.ENETDOWN: errors.FailedPrecondition,
    errno.ENOMEM: errors.ResourceExhausted,
    errno.ENOBUFS: errors.ResourceExhausted,
    errno.ENOSPC: errors.ResourceExhausted,
    errno.EMFILE: errors.ResourceExhausted,
    errno.ENFILE: errors.ResourceExhausted,
}


def refusal(purpose: str, code: int, reason: str = "") -> errors.Error:
    """The error for an errno, in the taxonomy: "cannot create bridge cni0: EEXIST: File exists"."""
    name = errno.errorcode.get(code, str(code))
    hint = "root in the network namespace's user namespace is needed" if code == errno.EPERM else ""
    kind = _CLASSES.get(code, errors.Internal)
    return kind(f"cannot {purpose}: {name}: {reason or os.strerror(code)}", hint=hint)
