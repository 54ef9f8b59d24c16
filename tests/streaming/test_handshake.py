"""The HTTP upgrade, both ends, and what strangers send instead."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.streaming import handshake
from rundlet.streaming.handshake import SPDY, WEBSOCKET, AnswerReader, UpgradeReader

NONCE = bytes(range(16))
SHORT_KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n"
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")


@pytest.mark.parametrize("transport", [SPDY, WEBSOCKET])
@pytest.mark.parametrize("chunk", [1, 1000])
def test_an_upgrade_both_ways(transport, chunk):
    raw = handshake.request(transport, "localhost:1", "/exec/abc?port=80", PROTOCOLS, NONCE) + b"rest"
    reader = UpgradeReader()
    upgrade = None
    for index in range(0, len(raw), chunk):
        upgrade = reader.receive(raw[index : index + chunk])
        if upgrade is not None:
            break
    assert upgrade is not None
    assert (upgrade.path, upgrade.query, upgrade.transport) == ("/exec/abc", (("port", "80"),), transport)
    assert upgrade.protocols == PROTOCOLS
    assert upgrade.rest == (b"rest" if chunk > 1 else b"")
    answer = AnswerReader(transport, NONCE).receive(handshake.accept(upgrade, PROTOCOLS[1]) + b"more")
    assert answer == handshake.Answer(101, PROTOCOLS[1], "", b"more")


def test_a_request_as_go_sends_it():
    raw = (
        b"POST /exec/AbC HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 0\r\n"
        b"Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
        b"X-Stream-Protocol-Version: v3.channel.k8s.io\r\n\r\n"
    )
    upgrade = UpgradeReader().receive(raw)
    assert upgrade.transport == SPDY
    assert upgrade.protocols == ("v4.channel.k8s.io", "v3.channel.k8s.io")


def test_the_key_of_rfc_6455():
    raw = (
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    upgrade = UpgradeReader().receive(raw)
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in handshake.accept(upgrade, "")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",  # TLS to a plain port
        b"GET / HTTP/1.1\r\n\r\n",  # without Host
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 10_000,
        b"GET /?" + b"a=1&" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" + SHORT_KEY,
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(raw):
    with pytest.raises(InvalidArgument):
        UpgradeReader().receive(raw)


def test_a_request_without_an_upgrade_has_no_transport():
    assert UpgradeReader().receive(b"GET /exec/x HTTP/1.1\r\nHost: x\r\n\r\n").transport == ""


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_clean_error(data):
    for reader in (UpgradeReader(), AnswerReader(SPDY, NONCE)):
        try:
            reader.receive(data)
        except InvalidArgument:
            pass


def test_a_refusal_is_read_with_its_words():
    raw = handshake.refuse(403, "none of these", ("v4.channel.k8s.io",))
    assert b"X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io\r\n" in raw
    reader = AnswerReader(SPDY, NONCE)
    assert reader.receive(raw[:50]) is None
    assert reader.receive(raw[50:]) == handshake.Answer(403, "", "none of these", b"")


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", b"SSH-2.0\r\n\r\n"])
def test_an_answer_that_is_cut_short_is_refused(raw):
    reader = AnswerReader(SPDY, NONCE)
    with pytest.raises(InvalidArgument):
        assert reader.receive(raw) is reader.receive(b"")


def test_a_websocket_answer_to_another_key_is_refused():
    raw = handshake.request(WEBSOCKET, "x", "/", PROTOCOLS, NONCE)
    answer = handshake.accept(UpgradeReader().receive(raw), "")
    with pytest.raises(InvalidArgument, match="Accept"):
        AnswerReader(WEBSOCKET, bytes(16)).receive(answer)
    assert base64.b64encode(bytes(16)) not in answer
