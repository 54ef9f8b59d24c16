"""A client of one version meets a keeper of another, played here."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rundlet.errors import Unavailable
from rundlet.keeper.client import Keeper
from rundlet.keeper.loop import Loop
from rundlet.keeper.place import connect_path
from rundlet.keeper.protocol import PROTOCOL_VERSION, receive_packet, send_packet
from rundlet.keeper.server import Server


@contextmanager
def other_keeper(run_root: Path, version: dict[str, Any]) -> Iterator[None]:
    """It answers every request with `version`, then with an empty answer."""
    directory = run_root / "keeper"
    directory.mkdir(parents=True)
    fd, address = connect_path(str(directory))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    os.close(fd)
    listener.listen()

    def serve() -> None:
        sock, _ = listener.accept()
        with sock:
            while packet := receive_packet(sock):
                answer = version if packet.message["verb"] == "version" else {"states": {}}
                send_packet(sock, {"id": packet.message["id"], "ok": answer})

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        listener.close()


def test_an_older_keeper_is_told_of_with_what_to_do(tmp_path: Path) -> None:
    with (
        other_keeper(tmp_path, {"protocol": 1, "pid": 1}),
        pytest.raises(Unavailable, match="it speaks protocol 1, this newer rundlet speaks") as caught,
    ):
        Keeper(str(tmp_path)).list()
    assert "with the rundlet that made them" in caught.value.hint


def test_a_newer_keeper_that_still_speaks_our_protocol_works(tmp_path: Path) -> None:
    newer = {"protocol": PROTOCOL_VERSION + 3, "oldest": PROTOCOL_VERSION, "pid": 1}
    with other_keeper(tmp_path, newer):
        keeper = Keeper(str(tmp_path))
        assert keeper.list() == {}
        keeper.close()


def test_a_newer_keeper_that_does_not_is_told_of(tmp_path: Path) -> None:
    newer = {"protocol": PROTOCOL_VERSION + 3, "oldest": PROTOCOL_VERSION + 1, "pid": 1}
    with (
        other_keeper(tmp_path, newer),
        pytest.raises(Unavailable, match="this older rundlet speaks") as caught,
    ):
        Keeper(str(tmp_path)).list()
    assert caught.value.hint == "use the newer rundlet that started it"


def test_a_request_that_the_keeper_does_not_know(tmp_path: Path) -> None:
    loop = Loop()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "sock"))
    listener.listen()
    server = Server(loop, listener, {})
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(str(tmp_path / "sock"))
        send_packet(client, {"id": 7, "verb": "from_the_future", "args": {}})
        loop.turn(1)
        loop.turn(1)
        packet = receive_packet(client)
    assert packet is not None
    code, message, hint = packet.message["error"]
    assert (code, message) == ("unavailable", "keeper: it does not know the request 'from_the_future'")
    assert "older than this rundlet" in hint
    server.close()
    listener.close()
    loop.close()
