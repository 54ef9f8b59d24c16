"""One connection to the keeper: whose an answer is."""

import os
import socket

import pytest

from rundlet.errors import FailedPrecondition
from rundlet.keeper.connection import Connection
from rundlet.keeper.protocol import send_packet


def test_a_late_answer_is_not_taken_for_the_next_ones() -> None:
    """As when a verb failed in the keeper after it had put the request on a list of those that wait."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection = Connection(ours)
    with theirs, open(os.devnull) as file:
        connection.send("delete", {})
        send_packet(theirs, {"id": 1, "error": [FailedPrecondition.code, "no room", ""]})
        with pytest.raises(FailedPrecondition, match="no room"):
            connection.receive()
        assert not connection.is_stale()
        connection.send("make_pod", {})
        send_packet(theirs, {"id": 1, "ok": {}}, (file.fileno(),))
        send_packet(theirs, {"id": 2, "ok": {"paths": {}}})
        assert connection.receive().message == {"paths": {}}
        send_packet(theirs, {"id": 2, "ok": {}})
        assert connection.is_stale()
    connection.close()
