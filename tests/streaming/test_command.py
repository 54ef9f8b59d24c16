"""Remote commands over both kinds of lanes and every dialect, two ends wired together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.streaming import channels
from rundlet.streaming.channels import Channel, Outcome, Size
from rundlet.streaming.command import (
    CommandClient,
    CommandServer,
    Finished,
    Gone,
    Input,
    InputEnded,
    Output,
    Ready,
    Resized,
    Wanted,
)
from rundlet.streaming.lanes import SpdyLanes, WebSocketLanes

ALL = Wanted(stdin=True, stdout=True, stderr=True)
TERMINAL = Wanted(stdin=True, stdout=True, terminal=True)


class Talk:
    """A client and a server; `chunk` is how many bytes arrive at once."""

    def __init__(self, client, server, chunk=1 << 20):
        self.client, self.server, self.chunk = client, server, chunk
        self.at_server = server.receive(b"")
        self.at_client = []

    def pump(self):
        while self.client.lanes.output_bytes or self.server.lanes.output_bytes:
            self.at_server += self._carry(self.client, self.server)
            self.at_client += self._carry(self.server, self.client)
        at_client, at_server = self.at_client, self.at_server
        self.at_client, self.at_server = [], []
        return at_client, at_server

    def _carry(self, source, target):
        data = source.lanes.take_output()
        pieces = [data[index : index + self.chunk] for index in range(0, len(data), self.chunk)]
        return [event for piece in pieces for event in target.receive(piece)]


def spdy_talk(name, wanted, chunk=1 << 20):
    dialect = channels.SPDY_DIALECTS[name]
    lanes = wanted.lanes(dialect)
    return Talk(
        CommandClient(SpdyLanes(lanes, is_client=True), dialect),
        CommandServer(SpdyLanes(lanes, is_client=False), wanted, dialect),
        chunk,
    )


def websocket_talk(name, wanted, chunk=1 << 20):
    dialect = channels.WEBSOCKET_DIALECTS[name]
    return Talk(
        CommandClient(WebSocketLanes(dialect, is_client=True), dialect),
        CommandServer(WebSocketLanes(dialect, is_client=False), wanted, dialect),
        chunk,
    )


TALKS = [(spdy_talk, name) for name in channels.SPDY_DIALECTS]
TALKS += [(websocket_talk, name) for name in channels.WEBSOCKET_DIALECTS]
EVERYWHERE = pytest.mark.parametrize(("make", "name"), TALKS)


@EVERYWHERE
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_a_session_from_beginning_to_end(make, name, chunk):
    talk = make(name, ALL, chunk)
    at_client, at_server = talk.pump()
    assert at_server == [Ready()]
    talk.server.announce()
    talk.client.lanes.send(Channel.STDIN, b"typed")
    talk.server.lanes.send(Channel.STDOUT, b"out")
    talk.server.lanes.send(Channel.STDERR, b"err")
    more, at_server = talk.pump()
    assert b"".join(event.data for event in at_server) == b"typed"
    outputs = dict.fromkeys((Channel.STDOUT, Channel.STDERR), b"")
    for event in at_client + more:
        if isinstance(event, Output):
            outputs[event.channel] += event.data
    assert outputs == {Channel.STDOUT: b"out", Channel.STDERR: b"err"}
    talk.server.finish(Outcome(3))
    at_client, _ = talk.pump()
    dialect = talk.server._dialect
    failure = Outcome(3) if dialect.json_outcome else Outcome(0, "command terminated with exit code 3")
    assert at_client == [Finished(failure)]


@EVERYWHERE
def test_a_success_is_heard_in_every_dialect(make, name):
    talk = make(name, ALL)
    talk.pump()
    talk.server.announce()
    talk.pump()
    talk.server.finish(Outcome())
    assert talk.pump()[0] == [Finished(Outcome())]


@EVERYWHERE
def test_the_size_of_a_terminal(make, name):
    talk = make(name, TERMINAL)
    talk.pump()
    talk.client.resize(Size(100, 40))
    heard = talk.pump()[1]
    assert heard == ([Resized(Size(100, 40))] if talk.server._dialect.resize else [])


@pytest.mark.parametrize(
    ("make", "name"), [(spdy_talk, "v4.channel.k8s.io"), (websocket_talk, "v5.channel.k8s.io")]
)
def test_the_end_of_stdin(make, name):
    talk = make(name, ALL)
    talk.pump()
    talk.client.lanes.send(Channel.STDIN, b"last")
    talk.client.lanes.end(Channel.STDIN)
    assert talk.pump()[1] == [Input(b"last"), InputEnded()]


@EVERYWHERE
def test_a_client_that_leaves(make, name):
    talk = make(name, ALL)
    talk.pump()
    talk.client.lanes.close()
    assert Gone() in talk.pump()[1]


@EVERYWHERE
def test_input_that_nobody_asked_for_is_dropped(make, name):
    talk = make(name, Wanted(stdout=True))
    talk.pump()
    talk.client.lanes.send(Channel.STDIN, b"x")
    assert talk.pump()[1] == []


# -- SPDY ----------------------------------------------------------------------------------


def test_a_spdy_session_is_ready_when_every_stream_is_there():
    dialect = channels.SPDY_DIALECTS["v4.channel.k8s.io"]
    server = CommandServer(SpdyLanes(ALL.lanes(dialect), is_client=False), ALL, dialect)
    client = SpdyLanes((Channel.ERROR, Channel.STDIN, Channel.STDOUT), is_client=True)
    assert server.receive(client.take_output()) == []


@pytest.mark.parametrize("name", ["", "stdout2", "resize", "STDIN"])
def test_a_spdy_stream_of_an_unexpected_type_is_reset(name):
    from rundlet.streaming import spdy

    dialect = channels.SPDY_DIALECTS["v4.channel.k8s.io"]
    server = CommandServer(SpdyLanes(ALL.lanes(dialect), is_client=False), ALL, dialect)
    client = spdy.Connection(is_client=True)
    client.open({"streamtype": name})
    assert server.receive(client.take_output()) == []
    assert client.receive(server.lanes.take_output()) == [spdy.StreamReset(1, spdy.PROTOCOL_ERROR)]


def test_a_spdy_stream_cannot_be_had_twice():
    from rundlet.streaming import spdy

    dialect = channels.SPDY_DIALECTS["v4.channel.k8s.io"]
    server = CommandServer(SpdyLanes(ALL.lanes(dialect), is_client=False), ALL, dialect)
    client = spdy.Connection(is_client=True)
    client.open({"streamtype": "stdin"})
    client.open({"streamtype": "stdin"})
    server.receive(client.take_output())
    assert spdy.StreamReset(3, spdy.PROTOCOL_ERROR) in client.receive(server.lanes.take_output())


def test_output_waits_for_the_clients_window():
    talk = spdy_talk("v4.channel.k8s.io", ALL)
    talk.pump()
    sent = 0
    while size := talk.server.lanes.credit(Channel.STDOUT):
        talk.server.lanes.send(Channel.STDOUT, b"x" * size)
        sent += size
    assert sent == 64 * 1024
    outputs = talk.pump()[0]
    talk.client.lanes.consume(Channel.STDOUT, sum(len(event.data) for event in outputs))
    talk.pump()
    assert talk.server.lanes.credit(Channel.STDOUT) == 64 * 1024


# -- WebSocket ----------------------------------------------------------------------------


def test_the_server_says_that_it_is_there_with_an_empty_message():
    talk = websocket_talk("v4.channel.k8s.io", ALL)
    talk.server.announce()
    assert talk.server.lanes.take_output() == bytes([0x82, 1, Channel.STDOUT])


def test_base64_messages_are_text():
    talk = websocket_talk("v4.base64.channel.k8s.io", ALL)
    talk.server.lanes.send(Channel.STDOUT, b"\xff\0")
    assert talk.server.lanes.take_output() == b"\x81\x051/wA="


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5.channel.k8s.io", b"\xff"),
        ("v5.channel.k8s.io", b"\xff\0\0"),
        ("v5.channel.k8s.io", b"\xff\x09"),
        ("v4.channel.k8s.io", b"\x05x"),
        ("v4.base64.channel.k8s.io", b"0***"),
        ("v4.base64.channel.k8s.io", b"\x02AA=="),
        ("v4.channel.k8s.io", b"\x04[1]"),
    ],
)
def test_messages_that_make_no_sense_are_refused(name, message):
    from rundlet.streaming.websocket import MessageConnection

    talk = websocket_talk(name, TERMINAL)
    stranger = MessageConnection(is_client=True)
    stranger.send(message)
    with pytest.raises(InvalidArgument):
        talk.server.receive(stranger.take_output())


@pytest.mark.parametrize("make", [spdy_talk, websocket_talk])
@given(pieces=st.lists(st.binary(max_size=60), max_size=8))
def test_a_server_survives_any_bytes_or_fails_cleanly(make, pieces):
    talk = make("v4.channel.k8s.io", TERMINAL)
    try:
        for piece in pieces:
            talk.server.receive(piece)
    except InvalidArgument:
        pass


@given(st.lists(st.binary(max_size=500), max_size=6), st.integers(1, 50))
def test_messages_come_back_however_they_are_cut(messages, chunk):
    talk = websocket_talk("v5.channel.k8s.io", ALL, chunk)
    for message in messages:
        talk.client.lanes.send(Channel.STDIN, message)
    heard = [event.data for event in talk.pump()[1] if isinstance(event, Input)]
    assert heard == messages
