"""What a `Keeper` hands out that lives longer than one call."""

import socket
from collections.abc import Iterator

from rundlet.errors import Unavailable
from rundlet.keeper.attach import DATA_MAX_BYTES
from rundlet.keeper.connection import Connection
from rundlet.keeper.protocol import ExitRecord, OomEvent, to_exit


class Attachment:
    """One end of a container's stdin, stdout and stderr, as `rundlet.keeper.attach` draws it.

    For one thread, or two of which one only sends; `fileno` can be polled.  Output
    that this end does not read in time is lost to it, never to the container's log.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> tuple[int, bytes] | None:
        """Channel (1 stdout, 2 stderr) and data; None when the container's streams have ended."""
        try:
            packet = self._sock.recv(DATA_MAX_BYTES + 1)
        except ConnectionResetError:
            return None
        return (packet[0], packet[1:]) if packet else None

    def send(self, data: bytes) -> None:
        """To its stdin; waits while the container does not read.  BrokenPipeError when it has ended."""
        for start in range(0, len(data), DATA_MAX_BYTES):
            self._sock.send(b"\0" + data[start : start + DATA_MAX_BYTES])

    def close_stdin(self) -> None:
        """This caller has no more input; output goes on."""
        self._sock.send(b"\0")

    def close(self) -> None:
        self._sock.close()


class Watch:
    """Exits as they happen, for one thread; another one may `stop` it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __iter__(self) -> Iterator[ExitRecord]:
        """Ends after `stop`; Unavailable when the keeper goes away."""
        return (event for event in self.events() if isinstance(event, ExitRecord))

    def events(self) -> Iterator[ExitRecord | OomEvent]:
        """As iteration, with the kills for want of memory."""
        while not self._connection.is_stopped:
            try:
                message = self._connection.receive().message
                yield OomEvent(*message["oom"]) if "oom" in message else to_exit(message["exit"])
            except Unavailable:
                if not self._connection.is_stopped:
                    raise

    def stop(self) -> None:
        """Wake the thread that waits for the next exit, and end its loop."""
        self._connection.stop()

    def close(self) -> None:
        self._connection.close()
