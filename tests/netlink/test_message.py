import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet import errors
from rundlet.netlink import attribute
from rundlet.netlink.message import (
    NLM_F_ACK_TLVS,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    Request,
    Verdict,
    decode,
    decode_verdict,
    encode,
    refusal,
)

REQUESTS = st.builds(
    Request,
    kind=st.integers(0, 0xFFFF),
    flags=st.integers(0, 0xFFFF),
    body=st.binary(max_size=50),
    purpose=st.just("test"),
)


@given(st.lists(st.tuples(REQUESTS, st.integers(0, 2**32 - 1)), max_size=5))
def test_messages_of_one_datagram_decode_back(items):
    data = b"".join(encode(request, sequence) for request, sequence in items)

    assert decode(data) == [
        Message(request.kind, request.flags | NLM_F_REQUEST, sequence, request.body)
        for request, sequence in items
    ]


@given(REQUESTS, st.data())
def test_cut_datagram_is_refused(request, data):
    whole = encode(request, 1)[: 16 + len(request.body)]
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]

    with pytest.raises(errors.DataLoss):
        decode(cut)


@given(st.binary(max_size=80))
def test_any_bytes_decode_or_are_refused(data):
    try:
        messages = decode(data)
    except errors.DataLoss:
        return
    assert sum(len(message.body) + 16 for message in messages) <= len(data)


def test_verdict_has_the_kernels_sentence():
    echo = bytes(16)
    body = struct.pack("=i", -errno.EINVAL) + echo + attribute.pack_text(1, "Invalid master")

    verdict = decode_verdict(Message(NLMSG_ERROR, NLM_F_ACK_TLVS, 1, body))

    assert verdict == Verdict(errno.EINVAL, "Invalid master")


def test_verdict_of_an_acknowledgement_is_zero():
    assert decode_verdict(Message(NLMSG_ERROR, 0, 1, bytes(20))) == Verdict(0, "")


def test_empty_end_of_dump_is_no_error():
    assert decode_verdict(Message(NLMSG_DONE, 0, 1, b"")) == Verdict(0, "")


def test_cut_verdict_is_refused():
    with pytest.raises(errors.DataLoss):
        decode_verdict(Message(NLMSG_ERROR, 0, 1, b"\0"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EEXIST, errors.AlreadyExists),
        (errno.ENODEV, errors.NotFound),
        (errno.EPERM, errors.PermissionDenied),
        (errno.ENOBUFS, errors.ResourceExhausted),
        (errno.EXDEV, errors.Internal),
    ],
)
def test_errno_becomes_an_error_of_the_taxonomy(code, kind):
    error = refusal("create bridge cni0", code)

    assert type(error) is kind
    assert error.message.startswith(f"cannot create bridge cni0: {errno.errorcode[code]}: ")
