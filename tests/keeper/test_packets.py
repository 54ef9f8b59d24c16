"""Packets that are none: the connection goes, the keeper and its descriptors stay."""

import json
import os
import socket
from collections.abc import Iterator

import pytest

from rundlet.errors import Unavailable
from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import receive_packet
from rundlet.keeper.server import Server

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def count_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("raw", [b"[1]", b"7", b"{", b"\xff", b"[" * 50_000, b'{"body":true}'])
def test_what_is_no_message_leaves_no_descriptor_behind(pair: Pair, raw: bytes) -> None:
    before = count_fds()
    directory = os.open("/", os.O_RDONLY)
    socket.send_fds(pair[0], [raw], [directory, directory])
    os.close(directory)
    with pytest.raises(Unavailable):
        receive_packet(pair[1])
    assert count_fds() == before


def test_a_body_that_is_a_pipe_does_not_hold_the_keeper_up(pair: Pair) -> None:
    reading, writing = os.pipe()
    socket.send_fds(pair[0], [b'{"body":true}'], [reading])
    with pytest.raises(Unavailable):
        receive_packet(pair[1])
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    "request_", [{"verb": ["x"]}, {"verb": "x", "args": [1]}, {"verb": "x", "args": {"a": []}}]
)
def test_a_request_of_the_wrong_shape_does_not_end_the_keeper(pair: Pair, request_: object) -> None:
    loop = Loop()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind("")
    listener.listen()
    server = Server(loop, listener, {"x": lambda request: request.answer(request.args["a"][0])})
    with listener, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(listener.getsockname())
        client.send(json.dumps(request_).encode())
        while loop.turn(0):
            pass
        packet = receive_packet(client)
        assert packet is not None
        assert packet.message["error"][0] == "invalid_argument"
        server.close()
    loop.close()
