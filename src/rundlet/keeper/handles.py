"""What a `Keeper` hands out that lives longer than one call."""

import json
import socket
from collections.abc import Iterator

from rundlet.errors import Unavailable
from rundlet.keeper.attach import DATA_MAX_BYTES, END, WITNESS_HEAD
from rundlet.keeper.connection import Connection
from rundlet.keeper.protocol import ExitRecord, OomEvent, to_exit


class Attachment:
    """One end of a container's stdin, stdout and stderr, as `rundlet.keeper.attach` draws it.

    For one thread, or two of which one only sends; `fileno` can be polled.  Output
    that this end does not read in time is lost to it, never to the container's log;
    a lossless one misses nothing, and has in `exit` how the container ended when `receive` has
    said None (None: it was removed without having run, or its keeper was killed with its anchor).
    """

    def __init__(self, sock: socket.socket, *, lossless: bool = False) -> None:
        self._sock = sock
        self._lossless = lossless
        self._ends: dict[int, int] = {}  # of what was received, by channel
        self.exit: ExitRecord | None = None

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive(self) -> tuple[int, bytes] | None:
        """Channel (1 stdout, 2 stderr) and data; None when the container's streams have ended."""
        while packet := self._receive():
            if packet[0] == END:
                self.exit = to_exit(json.loads(packet[1:]))
                return None
            data = self._strip(packet) if self._lossless else packet[1:]
            if data:
                return packet[0], data
        return None

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(WITNESS_HEAD.size + DATA_MAX_BYTES)
        except ConnectionResetError:
            return b""

    def _strip(self, packet: bytes) -> bytes:
        """The data, without what was received before."""
        channel, begin = WITNESS_HEAD.unpack_from(packet)
        known = max(0, self._ends.get(channel, begin) - begin)
        self._ends[channel] = begin + max(known, len(packet) - WITNESS_HEAD.size)
        return packet[WITNESS_HEAD.size + known :]

    def send(self, data: bytes) -> None:
        """To its stdin; waits while the container does not read.  BrokenPipeError when it has ended."""
        for start in range(0, len(data), DATA_MAX_BYTES):
            self._sock.send(b"\0" + data[start : start + DATA_MAX_BYTES])

    def close_stdin(self) -> None:
        """This caller has no more input; output goes on."""
        self._sock.send(b"\0")

    def close(self) -> None:
        self._sock.close()


class Lease:
    """What somebody does himself that the minder is to do should he be killed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def release(self) -> None:
        """It is done; quiet when the keeper was replaced meanwhile."""
        try:
            self._connection.send("unmind", {})
            self._connection.receive()
        except Unavailable:
            pass
        self._connection.close()


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
