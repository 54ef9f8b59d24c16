"""A SPDY connection's states and windows, two ends wired together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.streaming import frame, spdy


class Pair:
    """Two ends; `pump` lets both hear each other until both are silent."""

    def __init__(self):
        self.client = spdy.Connection(is_client=True)
        self.server = spdy.Connection(is_client=False)

    def pump(self):
        at_client, at_server = [], []
        while self.client.output_bytes or self.server.output_bytes:
            at_server += self.server.receive(self.client.take_output())
            at_client += self.client.receive(self.server.take_output())
        return at_client, at_server

    def open(self, **headers):
        stream_id = self.client.open(headers)
        self.pump()
        self.server.accept(stream_id)
        self.pump()
        return stream_id


@pytest.fixture
def pair():
    return Pair()


def test_a_stream_from_opening_to_end(pair):
    stream_id = pair.client.open({"streamtype": "stdin"})
    assert pair.pump()[1] == [spdy.StreamOpened(1, {"streamtype": "stdin"})]
    pair.server.accept(stream_id)
    assert pair.pump()[0] == [spdy.StreamAccepted(1)]
    pair.client.send(1, b"abc")
    pair.client.end(1)
    assert pair.pump()[1] == [spdy.DataReceived(1, b"abc"), spdy.StreamEnded(1)]
    assert pair.server.is_open(1)
    pair.server.send(1, b"xyz")
    pair.server.end(1)
    assert pair.pump()[0] == [spdy.DataReceived(1, b"xyz"), spdy.StreamEnded(1)]
    assert not pair.server.is_open(1)
    assert not pair.client.is_open(1)


def test_a_reset_ends_both_ways_once(pair):
    pair.open()
    pair.client.reset(1)
    pair.client.reset(1)
    assert pair.pump()[1] == [spdy.StreamReset(1, spdy.CANCEL)]
    pair.server.send(1, b"late")
    assert pair.pump() == ([], [])


def test_data_that_crosses_a_reset_is_dropped_silently(pair):
    pair.open()
    pair.client.send(1, b"crossing")
    pair.server.reset(1)
    assert pair.pump() == ([spdy.StreamReset(1, spdy.CANCEL)], [])


def test_data_after_the_end_resets_the_stream(pair):
    pair.open()
    pair.client.end(1)
    pair.pump()
    pair.server.receive(frame.FrameWriter().encode(frame.Data(1, b"more")))
    assert pair.pump()[0] == [spdy.StreamReset(1, spdy.STREAM_ALREADY_CLOSED)]
    assert not pair.server.is_open(1)


def test_data_for_a_stream_that_never_was_is_refused():
    server = spdy.Connection(is_client=False)
    server.take_output()
    assert server.receive(frame.FrameWriter().encode(frame.Data(5, b"?"))) == []
    assert server.take_output().endswith(frame.FrameWriter().encode(frame.RstStream(5, spdy.INVALID_STREAM)))


@pytest.mark.parametrize("stream_id", [0, 2, 3])
def test_streams_with_impossible_ids_fail_the_connection(stream_id):
    server, writer = spdy.Connection(is_client=False), frame.FrameWriter()
    server.receive(writer.encode(frame.SynStream(3, {})))
    with pytest.raises(InvalidArgument):
        server.receive(writer.encode(frame.SynStream(stream_id, {})))
    assert server.is_failed
    assert server.take_output().endswith(writer.encode(frame.GoAway(3, 1)))
    with pytest.raises(InvalidArgument):
        server.receive(b"")


def test_more_streams_than_allowed_are_refused(pair):
    for _ in range(spdy.STREAMS_MAX + 1):
        pair.client.open({})
    at_client, at_server = pair.pump()
    assert len(at_server) == spdy.STREAMS_MAX
    assert at_client == [spdy.StreamReset(2 * spdy.STREAMS_MAX + 1, spdy.REFUSED_STREAM)]


def test_after_our_goodbye_no_stream_is_accepted(pair):
    pair.server.go_away()
    assert pair.pump()[0] == [spdy.GoneAway(0)]
    pair.client.open({})
    assert pair.pump() == ([spdy.StreamReset(1, spdy.REFUSED_STREAM)], [])


def test_pings_of_the_peer_are_sent_back_and_answers_are_not():
    server, writer = spdy.Connection(is_client=False), frame.FrameWriter()
    server.take_output()
    server.receive(writer.encode(frame.Ping(7)) + writer.encode(frame.Ping(8)))
    assert server.take_output() == writer.encode(frame.Ping(7))


# -- flow control ---------------------------------------------------------------------------


def test_a_window_is_used_up_and_given_back(pair):
    pair.open()
    assert pair.client.credit(1) == spdy.WINDOW_BYTES
    pair.client.send(1, b"x" * spdy.WINDOW_BYTES)
    assert pair.client.credit(1) == 0
    pair.pump()
    assert pair.client.credit(1) == 0
    pair.server.consume(1, spdy.WINDOW_BYTES)
    pair.pump()
    assert pair.client.credit(1) == spdy.WINDOW_BYTES


def test_the_connections_window_is_shared_by_its_streams(pair):
    first, second = pair.open(), pair.open()
    pair.client.send(first, b"x" * spdy.WINDOW_BYTES)
    assert pair.client.credit(second) == 0
    pair.pump()
    pair.server.reset(first)
    pair.pump()
    assert pair.client.credit(second) == spdy.WINDOW_BYTES  # what nobody will consume is given back


def test_a_stream_that_ended_unread_gives_its_window_back_once(pair):
    stream_id = pair.open()
    pair.client.send(stream_id, b"x" * spdy.WINDOW_BYTES)
    pair.client.end(stream_id)
    pair.pump()
    pair.server.end(stream_id)
    pair.server.consume(stream_id, spdy.WINDOW_BYTES)
    pair.pump()
    assert pair.client.credit(pair.open()) == spdy.WINDOW_BYTES


def test_a_peer_without_flow_control_is_not_waited_for():
    """As moby/spdystream: neither SETTINGS nor WINDOW_UPDATE ever comes."""
    server, writer = spdy.Connection(is_client=False), frame.FrameWriter()
    server.receive(writer.encode(frame.SynStream(1, {})))
    server.accept(1)
    for _ in range(100):
        assert server.credit(1) > 0
        server.send(1, b"x" * server.credit(1))
    server.receive(writer.encode(frame.WindowUpdate(1, 10)))
    assert server.credit(1) == 0


def feed(server, *sizes):
    """Data of a client without SETTINGS, consumed at once; what the server answers."""
    writer = frame.FrameWriter()
    server.receive(writer.encode(frame.SynStream(1, {})))
    server.take_output()
    for size in sizes:
        server.receive(writer.encode(frame.Data(1, b"x" * size)))
        server.consume(1, size)
    return server.take_output()


def test_a_silent_peer_that_waits_at_the_end_of_its_window_gets_credit():
    """It keeps the protocol, and SETTINGS are no duty."""
    writer = frame.FrameWriter()
    credit = writer.encode(frame.WindowUpdate(1, 65536)) + writer.encode(frame.WindowUpdate(0, 65536))
    assert feed(spdy.Connection(is_client=False), 40000, 25536) == credit
    assert len(feed(spdy.Connection(is_client=False), 40000, 25536, 32768)) == 4 * 16


def test_a_peer_that_overruns_its_window_gets_no_credit():
    """containerd 1.6 resets the connection at its end when such frames lie unread: the last output was lost."""
    assert feed(spdy.Connection(is_client=False), 40000, 40000, 500000) == b""


def test_a_new_initial_window_moves_those_of_open_streams(pair):
    pair.open()
    pair.client.receive(frame.FrameWriter().encode(frame.Settings({7: 1000})))
    assert pair.client.credit(1) == 1000
    pair.client.send(1, b"x" * 1000)
    pair.client.receive(frame.FrameWriter().encode(frame.Settings({7: 100})))
    assert pair.client.credit(1) == 0


@pytest.mark.parametrize("stream_id", [0, 1])
def test_a_window_over_2_gib_is_an_error(pair, stream_id):
    pair.open()
    update = frame.FrameWriter().encode(frame.WindowUpdate(stream_id, spdy.WINDOW_MAX_BYTES))
    if stream_id:
        assert pair.client.receive(update) == [spdy.StreamReset(1, spdy.FLOW_CONTROL_ERROR)]
    else:
        with pytest.raises(InvalidArgument):
            pair.client.receive(update)


def test_frames_that_are_sent_are_short(pair):
    pair.open()
    pair.client.take_output()
    pair.client.send(1, b"x" * spdy.WINDOW_BYTES)
    assert len(pair.client.take_output()) == spdy.WINDOW_BYTES + 8 * (
        spdy.WINDOW_BYTES // frame.DATA_MAX_BYTES
    )


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_a_connection_survives_any_bytes_or_fails_cleanly(pieces):
    connection = spdy.Connection(is_client=False)
    try:
        for piece in pieces:
            connection.receive(piece)
    except InvalidArgument:
        assert connection.is_failed


@given(
    st.lists(st.sampled_from(["open", "send", "end", "reset", "reply", "consume"]), max_size=40), st.randoms()
)
def test_any_use_of_both_ends_stays_within_the_protocol(actions, random):
    pair = Pair()
    ids = [pair.open()]
    for action in actions:
        stream_id = random.choice(ids)
        end = random.choice([pair.client, pair.server])
        if action == "open":
            ids.append(pair.open())
        elif action == "send":
            end.send(stream_id, b"x" * min(random.randrange(5000), end.credit(stream_id)))
        elif action == "consume":
            end.consume(stream_id, random.randrange(2))
        elif action == "reply":
            pair.pump()
        else:
            getattr(end, action)(stream_id)
    pair.pump()
    assert not pair.client.is_failed
    assert not pair.server.is_failed
    assert all(pair.client.is_open(stream_id) == pair.server.is_open(stream_id) for stream_id in ids)
