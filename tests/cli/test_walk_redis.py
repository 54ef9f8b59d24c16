"""The walk's Redis client against a server of three canned answers."""

import socket
import threading
from collections.abc import Iterator

import pytest

from rundlet.cli import walk_redis
from rundlet.errors import DataLoss, Unavailable


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield ours, theirs


@pytest.mark.parametrize(
    ("wire", "answer"),
    [(b"+PONG\r\n", "+PONG"), (b"$7\r\nrundlet\r\n", "rundlet"), (b"-ERR what\r\n", "-ERR what")],
)
def test_answers_are_read(pair: tuple[socket.socket, socket.socket], wire: bytes, answer: str) -> None:
    ours, theirs = pair
    theirs.sendall(wire)
    assert walk_redis.ask(ours, "ANY") == answer
    assert theirs.recv(100) == b"ANY\r\n"


def test_a_closed_connection_is_data_loss(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(DataLoss):
        walk_redis.ask(ours, "PING")


def test_connect_waits_for_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setattr(walk_redis, "PORT", listener.getsockname()[1])
        threading.Timer(0.05, listener.listen).start()
        with walk_redis.connect("127.0.0.1", timeout_s=5) as connection:
            assert connection.getpeername() == listener.getsockname()


def test_connect_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        monkeypatch.setattr(walk_redis, "PORT", holder.getsockname()[1])
        with pytest.raises(Unavailable, match="does not answer"):
            walk_redis.connect("127.0.0.1", timeout_s=0)
