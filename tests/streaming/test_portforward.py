"""Port-forward, two ends wired together: plain SPDY, SPDY inside WebSocket, WebSocket channels."""

import pytest

from rundlet.errors import InvalidArgument
from rundlet.streaming import portforward, spdy
from rundlet.streaming.channels import Dialect
from rundlet.streaming.portforward import (
    ForwardData,
    ForwardEnded,
    ForwardOpened,
    ForwardReset,
    ForwardsGone,
    PlainWire,
    SpdyForwardClient,
    SpdyForwardServer,
    TunnelWire,
    WebSocketForwardServer,
)
from rundlet.streaming.websocket import MessageConnection


class Talk:
    def __init__(self, *, tunnel):
        self.client = SpdyForwardClient(TunnelWire(is_client=True) if tunnel else PlainWire())
        self.server = SpdyForwardServer(TunnelWire(is_client=False) if tunnel else PlainWire())

    def pump(self):
        at_client, at_server = [], []
        while True:
            to_server, to_client = self.client.take_output(), self.server.take_output()
            if not (to_server or to_client):
                return at_client, at_server
            at_server += self.server.receive(to_server)
            at_client += self.client.receive(to_client)


@pytest.fixture(params=[False, True], ids=["plain", "tunnel"])
def talk(request):
    return Talk(tunnel=request.param)


def test_a_connection_each_way_ended_alone(talk):
    key = talk.client.open(80)
    assert talk.pump()[1] == [ForwardOpened(key, 80)]
    talk.client.send(key, b"ask")
    talk.client.end(key)
    assert talk.pump()[1] == [ForwardData(key, b"ask"), ForwardEnded(key)]
    talk.server.send(key, b"answer")
    talk.server.end(key)
    assert talk.pump()[0] == [ForwardData(key, b"answer"), ForwardEnded(key)]
    assert not talk.server._pairs
    assert not talk.server._keys
    assert not talk.client._pairs


def test_connections_are_told_apart(talk):
    keys = [talk.client.open(port) for port in (80, 81)]
    talk.pump()
    for key in keys:
        talk.client.send(key, key.encode())
    assert talk.pump()[1] == [ForwardData(key, key.encode()) for key in keys]


def test_a_failure_is_told_with_its_reason(talk):
    key = talk.client.open(80)
    talk.pump()
    talk.server.fail(key, "connection refused")
    assert talk.pump()[0] == [ForwardReset(key, "connection refused")]
    assert not talk.server._pairs
    assert not talk.client._pairs


def test_a_client_that_drops_a_connection(talk):
    key = talk.client.open(80)
    talk.pump()
    talk.client.abort(key)
    assert talk.pump()[1] == [ForwardReset(key)]
    assert not talk.server._pairs


def test_a_goodbye(talk):
    key = talk.client.open(80)
    talk.pump()
    talk.server.close()
    assert talk.pump()[0] == [ForwardReset(key), ForwardsGone()]


def test_bytes_wait_for_the_window(talk):
    key = talk.client.open(80)
    talk.pump()
    talk.client.send(key, b"x" * talk.client.credit(key))
    assert talk.client.credit(key) == 0
    heard = talk.pump()[1]
    talk.server.consume(key, sum(len(event.data) for event in heard))
    talk.pump()
    assert talk.client.credit(key) == spdy.WINDOW_BYTES


# -- streams as other clients open them --------------------------------------------------------


def hear(*headers):
    server, client = SpdyForwardServer(PlainWire()), spdy.Connection(is_client=True)
    for fields in headers:
        client.open(fields)
    return server, client, server.receive(client.take_output())


def test_old_clients_send_no_request_id():
    events = hear({"streamtype": "error", "port": "80"}, {"streamtype": "data", "port": "80"})[2]
    assert events == [ForwardOpened("stream 1", 80)]


def test_a_pair_without_its_second_stream_is_half_open():
    server, _, events = hear({"streamtype": "data", "port": "80", "requestid": "7"})
    assert (events, server.half_open) == ([], {"7"})
    server.fail("7", "too late")
    assert not server.half_open


@pytest.mark.parametrize(
    "headers",
    [
        {"streamtype": "data"},
        {"streamtype": "data", "port": "0"},
        {"streamtype": "data", "port": "65536"},
        {"streamtype": "data", "port": "٣"},
        {"streamtype": "data", "port": "-1"},
        {"streamtype": "stdin", "port": "80"},
    ],
)
def test_streams_that_make_no_sense_are_reset(headers):
    raw = {key: value.encode().decode("latin-1") for key, value in headers.items()}
    server, client, events = hear({"requestid": "1"} | raw)
    assert events == []
    assert client.receive(server.take_output()) == [spdy.StreamReset(1, spdy.PROTOCOL_ERROR)]


def test_a_second_data_stream_of_a_request_is_reset():
    fields = {"streamtype": "data", "port": "80", "requestid": "1"}
    server, client, _ = hear(fields, fields)
    assert spdy.StreamReset(3, spdy.PROTOCOL_ERROR) in client.receive(server.take_output())


# -- WebSocket channels -------------------------------------------------------------------------


def test_every_channel_begins_with_its_port():
    server, client = WebSocketForwardServer([80, 8080], Dialect()), MessageConnection(is_client=True)
    assert server.receive(b"") == [ForwardOpened("0", 80), ForwardOpened("2", 8080)]
    assert client.receive(server.take_output()) == [b"\0\x50\0", b"\1\x50\0", b"\2\x90\x1f", b"\3\x90\x1f"]
    client.send(b"\2ask")
    assert server.receive(client.take_output()) == [ForwardData("2", b"ask")]
    server.send("2", b"answer")
    server.fail("0", "refused")
    assert client.receive(server.take_output()) == [b"\2answer", b"\1refused"]
    assert not client.is_closed
    server.end("2")
    client.receive(server.take_output())
    assert client.is_closed


def test_channels_in_base64():
    ports = list(range(1, portforward.PORTS_MAX + 1))
    server, client = WebSocketForwardServer(ports, Dialect(base64=True)), MessageConnection(is_client=True)
    server.receive(b"")
    assert len(client.receive(server.take_output())) == 2 * len(ports)
    client.send(b"0aGk=", text=True)
    assert server.receive(client.take_output()) == [ForwardData("0", b"hi")]
    client.send(b"0*", text=True)
    with pytest.raises(InvalidArgument):
        server.receive(client.take_output())
