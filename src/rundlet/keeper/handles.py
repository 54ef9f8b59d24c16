"""What a `Keeper` hands out that lives longer than one call."""

import json
import socket
from collections.abc import Callable, Iterator

from rundlet.errors import DeadlineExceeded, NotFound, Unavailable
from rundlet.keeper.attach import DATA_MAX_BYTES, END, WITNESS_HEAD
from rundlet.keeper.connection import Connection
from rundlet.keeper.protocol import ExitRecord, OomEvent, to_exit


class ExecHandle:
    """A process started by `Keeper.exec`; close it when no longer interested.

    `terminal_fd` is the terminal's master, the caller's to close; -1 without one.
    """

    def __init__(
        self,
        connection: Connection,
        exec_id: str,
        pid: int,
        terminal_fd: int,
        *,
        recall: Callable[[float | None], ExitRecord | None],
        deliver: Callable[[int], object],
    ) -> None:
        """`recall` asks another supervisor how it ended, `deliver` sends it a signal."""
        self._connection = connection
        self._recall = recall
        self._deliver = deliver
        self.exec_id = exec_id
        self.pid = pid
        self.terminal_fd = terminal_fd

    def fileno(self) -> int:
        """Can be polled: it is readable when the process has ended."""
        return self._connection.fileno()

    def wait(self, timeout_s: float | None = None) -> ExitRecord | None:
        """How it ended; None when it has not within `timeout_s`.

        Unavailable when the keeper died with its anchor and nobody can know.
        """
        try:
            return to_exit(self._connection.receive(timeout_s).message["exit"])
        except DeadlineExceeded:
            return None
        except Unavailable as error:
            try:
                return self._recall(timeout_s)
            except NotFound:
                raise error from None

    def signal(self, signum: int) -> None:
        """To the process and its process group; NotFound when it has ended."""
        self._deliver(signum)

    def close(self) -> None:
        self._connection.close()


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

    def close(self) -> None:
        """It is the minder's from now on."""
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
