"""Attach: everyone who follows one container's output or types into it.

Each caller holds one end of a SOCK_SEQPACKET pair.  A packet is one byte of
channel, then data:

    keeper → caller     1 stdout, 2 stderr (a terminal's output is stdout)
    caller → keeper     0 stdin; without data: the end of this caller's stdin
    end of file         keeper → caller: the container's streams have ended
                        caller → keeper: the caller has gone

Nothing that was written before is replayed.  Nobody waits for a caller: what does
not fit into its socket (8 MiB) is lost to it, packet by packet.  Input is
the other way round: while the container does not read, the keeper reads no further
packet of that caller, so its send(2) blocks.
"""

import os
import socket
from collections.abc import Callable

from rundlet.keeper.loop import Loop

STDIN, STDOUT, STDERR = 0, 1, 2
CHANNELS = {"stdout": STDOUT, "stderr": STDERR}
DATA_MAX_BYTES = 1 << 16
_SEND_BUFFER_BYTES = 8 << 20  # memory only while a caller lags; the kernel doubles it for its own needs
_SO_SNDBUFFORCE = 32  # socket(7); the socket module lacks it


class Stdin:
    """The writing end of a container's stdin, or its terminal; never blocking."""

    __slots__ = ("_loop", "_waiting", "fd", "is_terminal")

    def __init__(self, loop: Loop) -> None:
        self.fd = -1
        self.is_terminal = False
        self._loop = loop
        self._waiting: list[Caller] = []

    def open(self, fd: int, *, is_terminal: bool = False) -> None:
        os.set_blocking(fd, False)
        self.fd, self.is_terminal = fd, is_terminal

    def write(self, data: bytes) -> bytes:
        """What was not taken; nothing takes all when the stream is closed."""
        if self.fd < 0:
            return b""
        try:
            return data[os.write(self.fd, data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""  # the terminal's last process has gone

    def notify(self, caller: "Caller") -> None:
        """Let `caller` go on when more can be written."""
        if not self._waiting:
            self._loop.add_writer(self.fd, self._on_writable)
        self._waiting.append(caller)

    def _on_writable(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._loop.remove_writer(self.fd)
        for caller in waiting:
            caller.resume()

    def close(self) -> None:
        """The container reads end of file; a terminal belongs to its output and stays."""
        if self.fd < 0:
            return
        self._loop.remove_writer(self.fd)
        waiting, self._waiting = self._waiting, []
        if not self.is_terminal:
            os.close(self.fd)
        self.fd = -1
        for caller in waiting:
            caller.resume()


def _widen(sock: socket.socket) -> None:
    """A burst fits while the caller reads it at its own speed; without CAP_NET_ADMIN wmem_max is the limit."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


class Caller:
    """One attached client, and the input of it that the container has not taken yet."""

    __slots__ = ("_audience", "_held", "_sock", "has_stdin")

    def __init__(self, audience: "Audience", sock: socket.socket, *, has_stdin: bool) -> None:
        sock.setblocking(False)
        _widen(sock)
        self._audience = audience
        self._sock = sock
        self._held = b""
        self.has_stdin = has_stdin
        audience.loop.add(sock.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            packet = self._sock.recv(DATA_MAX_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._audience.leave(self)
        elif packet[0] != STDIN or not self.has_stdin:
            return
        elif len(packet) == 1:
            self._audience.end_stdin(self)
        else:
            self._pass_on(packet[1:])

    def _pass_on(self, data: bytes) -> None:
        self._held = self._audience.stdin.write(data)
        if self._held:
            self._audience.loop.remove(self._sock.fileno())
            self._audience.stdin.notify(self)

    def resume(self) -> None:
        """The container reads again: first what was held back, then the next packet."""
        if self._sock.fileno() < 0:
            return
        held, self._held = self._held, b""
        self._audience.loop.add(self._sock.fileno(), self._receive)
        self._pass_on(held)

    def send(self, packet: bytes) -> None:
        """A full socket loses the packet; a closed one is found out by reading."""
        try:
            self._sock.send(packet)
        except OSError:
            pass

    def close(self) -> None:
        self._audience.loop.remove(self._sock.fileno())
        self._sock.close()


class Audience:
    """All callers of one container; `on_stdin_end` is called when one that had stdin has finished with it."""

    __slots__ = ("_callers", "_on_stdin_end", "loop", "stdin")

    def __init__(self, loop: Loop, stdin: Stdin, on_stdin_end: Callable[[], None]) -> None:
        self.loop = loop
        self.stdin = stdin
        self._on_stdin_end = on_stdin_end
        self._callers: list[Caller] = []

    def admit(self, *, has_stdin: bool) -> socket.socket:
        """A new caller; its end of the pair, to be passed on and closed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._callers.append(Caller(self, ours, has_stdin=has_stdin))
        return theirs

    def publish(self, channel: int, chunk: bytes) -> None:
        """To everyone, now or never."""
        if not self._callers:
            return
        head = bytes((channel,))
        for start in range(0, len(chunk), DATA_MAX_BYTES):
            packet = head + chunk[start : start + DATA_MAX_BYTES]
            for caller in self._callers:
                caller.send(packet)

    def end_stdin(self, caller: Caller) -> None:
        """The caller types no more; it may go on to read."""
        if caller.has_stdin:
            caller.has_stdin = False
            self._on_stdin_end()

    def leave(self, caller: Caller) -> None:
        self._callers.remove(caller)
        caller.close()
        self.end_stdin(caller)

    def close(self) -> None:
        """The container's streams have ended: so does everyone's."""
        callers, self._callers = self._callers, []
        for caller in callers:
            caller.close()
