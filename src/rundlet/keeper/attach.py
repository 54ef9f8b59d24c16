"""Attach: everyone who follows one container's output or types into it.

Each caller holds one end of a SOCK_SEQPACKET pair.  A packet is one byte of
channel, then data:

    keeper → caller     1 stdout, 2 stderr (a terminal's output is stdout)
                        to those that miss nothing, behind 1 and 2: where the data begins in all that
                        the stream had since the first of them came, 8 bytes, native;
                        and 3 how the container ended, an exit record as JSON
    caller → keeper     0 stdin; without data: the end of this caller's stdin
    end of file         keeper → caller: the container's streams have ended; the container
                                         itself has, for those that miss nothing
                        caller → keeper: the caller has gone

Nothing that was written before is replayed.  There are two kinds of callers:

    Caller     nobody waits for it: what does not fit into its socket (8 MiB) is lost to it,
               packet by packet
    Witness    misses nothing: while a quarter of its socket is full the keeper reads no more of the
               container's output, so its write(2) blocks; the rest is room for what is still
               in pipes when the container ends, so its end never waits for a reader.
               The anchor holds its socket too: a new supervisor goes on with it, and may say again
               what a killed one had said of a batch under way (`Tally`); by the numbers the
               caller knows

Input is the other way round: while the container does not read, the keeper reads no further
packet of that caller, so its send(2) blocks.
"""

import json
import mmap
import os
import select
import socket
import struct
from collections.abc import Callable

from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import ExitRecord

STDIN, STDOUT, STDERR, END = 0, 1, 2, 3
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
    """One attached client, and the input of it that the container has not taken yet.

    `name` is what the anchor holds its socket by; empty when it does not.
    """

    name = ""

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

    def tell(self, channel: int, offset: int, data: memoryview) -> None:  # noqa: ARG002 - for those that miss nothing
        """A full socket loses it; a closed one is found out by reading."""
        try:
            self._sock.sendmsg((bytes((channel,)), data))
        except OSError:
            pass

    def has_room(self) -> bool:
        """Whether a batch may be read for it."""
        return True

    def close(self) -> None:
        self._audience.loop.remove(self._sock.fileno())
        self._sock.close()


_NAME = "witness"
_TALLY_BYTES = 32
WITNESS_HEAD = struct.Struct("=BQ")


class Tally:
    """How many bytes have left the FIFOs of a container since its first witness came, by channel.

    In a memfd that the anchor holds; `keeper.journal` keeps it exact whenever this process is killed.
    """

    name = "tally"

    def __init__(self, fd: int = -1) -> None:
        if fd < 0:
            fd = os.memfd_create("rundlet-tally", os.MFD_CLOEXEC)
            os.ftruncate(fd, _TALLY_BYTES)
        self.fd = fd
        self._page = mmap.mmap(fd, _TALLY_BYTES)
        self.taken = memoryview(self._page).cast("Q")

    def close(self) -> None:
        self.taken.release()
        self._page.close()
        os.close(self.fd)


class Witness(Caller):
    """One that misses nothing."""

    __slots__ = ("_ends", "_late", "_writable", "name")

    def __init__(self, audience: "Audience", sock: socket.socket, name: str) -> None:
        super().__init__(audience, sock, has_stdin=name.endswith("+stdin"))
        self.name = name
        self._late: list[bytes] = []  # of a container that has ended, where the socket could not be widened
        self._ends = False
        self._writable = select.poll()
        self._writable.register(sock, select.POLLOUT)

    def fileno(self) -> int:
        return self._sock.fileno()

    def has_room(self) -> bool:
        """When not, the audience is called as soon as there is: the kernel says so at a quarter (unix_writable)."""
        if not self._late and self._writable.poll(0):
            return True
        self._await_room()
        return False

    def _await_room(self) -> None:
        self._audience.loop.add_writer(self._sock.fileno(), self._on_room)

    def _on_room(self) -> None:
        late, self._late = self._late, []
        for packet in late:
            self._send(packet)
        if self._late:
            return
        self._audience.loop.remove_writer(self._sock.fileno())
        if self._ends:
            self.close()
        else:
            self._audience.on_room()

    def tell(self, channel: int, offset: int, data: memoryview) -> None:
        self._send(WITNESS_HEAD.pack(channel, offset), data)

    def _send(self, *parts: bytes | memoryview) -> None:
        if not self._late:
            try:
                self._sock.sendmsg(parts)
                return
            except BlockingIOError:
                pass
            except OSError:
                return  # it has gone, as reading will tell
        self._late.append(b"".join(parts))
        self._await_room()

    def end(self, exit_record: ExitRecord) -> None:
        """The last packet, and the end behind it."""
        self._send(bytes((END,)), json.dumps(exit_record).encode())
        if self._late:
            self._ends = True
        else:
            self.close()

    def let_go(self) -> None:
        """Another process has the socket from now on."""
        self._stop_listening()
        self._sock.detach()

    def close(self) -> None:
        self._stop_listening()
        self._sock.close()

    def _stop_listening(self) -> None:
        self._audience.loop.remove(self._sock.fileno())
        self._audience.loop.remove_writer(self._sock.fileno())


class Audience:
    """All callers of one container.

    `on_stdin_end` is called when one that had stdin has finished with it, `on_room` when those
    that miss nothing can take more, `on_leave` with the name of one of them that has gone.
    """

    __slots__ = ("_callers", "_on_stdin_end", "_tally", "loop", "on_leave", "on_room", "stdin")

    def __init__(
        self, loop: Loop, stdin: Stdin, on_stdin_end: Callable[[], None], on_room: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.stdin = stdin
        self._on_stdin_end = on_stdin_end
        self.on_room = on_room
        self.on_leave: Callable[[str], None] = lambda _: None
        self._callers: list[Caller] = []
        self._tally: Tally | None = None

    def admit(self, *, has_stdin: bool) -> socket.socket:
        """A new caller; its end of the pair, to be passed on and closed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._callers.append(Caller(self, ours, has_stdin=has_stdin))
        return theirs

    def admit_witness(self, *, has_stdin: bool) -> socket.socket:
        """A new one that misses nothing; the anchor is to hold `fds` from now on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        name = f"{_NAME}-{os.urandom(4).hex()}{'+stdin' if has_stdin else ''}"
        self._callers.append(Witness(self, ours, name))
        self._tally = self._tally or Tally()
        return theirs

    def restore(self, held: dict[str, int]) -> None:
        """Take out what an earlier supervisor had."""
        for name in [name for name in held if name.startswith(_NAME)]:
            self._callers.append(Witness(self, socket.socket(fileno=held.pop(name)), name))
        if Tally.name in held:
            self._tally = Tally(held.pop(Tally.name))

    def fds(self) -> dict[str, int]:
        """What the anchor holds."""
        held = {witness.name: witness.fileno() for witness in self._witnesses()}
        return held | ({Tally.name: self._tally.fd} if self._tally else {})

    def _witnesses(self) -> list[Witness]:
        return [caller for caller in self._callers if isinstance(caller, Witness)]

    def has_room(self) -> bool:
        """Whether everyone who may miss nothing can take a batch; `on_room` is called later if not."""
        full = [
            caller for caller in self._callers if not caller.has_room()
        ]  # all are asked, so all are waited for
        return not full

    def publish(self, channel: int, chunk: bytes, seen: int) -> None:
        """To everyone, now or never; `seen` bytes before it are in the FIFO still."""
        if not self._callers:
            return
        begin = seen + self.count_taken(channel, 0)
        view = memoryview(chunk)
        for start in range(0, len(chunk), DATA_MAX_BYTES):
            for caller in self._callers:
                caller.tell(channel, begin + start, view[start : start + DATA_MAX_BYTES])

    def count_taken(self, channel: int, more: int) -> int:
        """What the tally is when `more` bytes have left the FIFO."""
        return self._tally.taken[channel] + more if self._tally else 0

    def note_taken(self, channel: int, total: int) -> None:
        if self._tally:
            self._tally.taken[channel] = total

    def end_stdin(self, caller: Caller) -> None:
        """The caller types no more; it may go on to read."""
        if caller.has_stdin:
            caller.has_stdin = False
            self._on_stdin_end()

    def leave(self, caller: Caller) -> None:
        self._callers.remove(caller)
        caller.close()
        self.end_stdin(caller)
        if caller.name:
            self.on_leave(caller.name)
            self.on_room()

    def end_streams(self) -> None:
        """There is no more output; those that miss nothing are still to hear of the end."""
        callers, self._callers = self._callers, list(self._witnesses())
        for caller in callers:
            if not caller.name:
                caller.close()

    def end(self, exit_record: ExitRecord) -> None:
        """The container has ended."""
        witnesses, self._callers = self._witnesses(), []
        for witness in witnesses:
            witness.end(exit_record)

    def release(self) -> None:
        """Another process takes over: whom the anchor holds notices nothing, the others are let go."""
        self.end_streams()
        for witness in self._witnesses():
            witness.let_go()
        self._callers, self._tally = [], None

    def close(self) -> None:
        """The container goes: so does everyone."""
        callers, self._callers = self._callers, []
        for caller in callers:
            caller.close()
        if self._tally:
            self._tally.close()
            self._tally = None
