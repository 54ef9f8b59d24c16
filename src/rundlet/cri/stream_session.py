"""One session: bytes from the wire to a protocol value and back, in one thread that polls.

    peer's socket ──▶ protocol ──▶ events ──▶ what the session is for (process, connections, user)
                 ◀── outgoing  ◀── protocol ◀──

`Session` has the loop, the outgoing buffer, the idle time and the orderly end; its children, of
the server as of the client, have the rest.  Back pressure: the peer is read only while the child
has room (`_has_room`), and the child reads its sources only while `_is_clear`.
"""

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from rundlet.cri.stream_socket import BROKEN, READ, WRITE, ClientSocket, wait_for

OUTGOING_MAX_BYTES = 256 * 1024
_LINGER_S = 5.0  # for the peer to hang up after the goodbye: closing earlier could cost it the last bytes

log = logging.getLogger(__name__)


class Wire(Protocol):
    """The part of a protocol value that the loop needs."""

    def take_output(self) -> bytes: ...


class Session:
    """A base for the kinds of sessions."""

    def __init__(self, sock: ClientSocket, wire: Wire, idle_timeout_s: float) -> None:
        self._sock = sock
        self._wire = wire
        self._idle_timeout_s = idle_timeout_s
        self._outgoing = bytearray()
        self._active_at_s = time.monotonic()
        self._is_gone = False  # the peer
        self._is_finished = False

    # -- what children add ------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        """Bytes from the peer; an Error ends the session."""
        raise NotImplementedError

    def _interest(self) -> Mapping[int, int]:
        """What to wait for beside the peer."""
        raise NotImplementedError

    def _handle(self, ready: Mapping[int, int]) -> None:
        """Move what can be moved; called after every wait, also when nothing is ready."""
        raise NotImplementedError

    def _deadline_s(self) -> float | None:
        """When to be called without an event, in time.monotonic's seconds."""
        raise NotImplementedError

    def _has_room(self) -> bool:
        """Whether more of what the peer sends can be taken."""
        raise NotImplementedError

    def _close(self) -> None:
        """Let go of everything but the peer."""
        raise NotImplementedError

    # -- the loop -----------------------------------------------------------------------

    def run(self, rest: bytes, answer: bytes) -> None:
        """Until the end; `answer` goes out first, `rest` is what came behind the request.

        Raises an Error when the peer breaks the protocol, OSError when its connection does.
        """
        self._outgoing += answer
        try:
            self._take(rest)
            while not (self._is_finished or self._is_gone):
                self._turn()
        except OSError:
            self._is_gone = True
            raise
        finally:
            self._close()
            self._say_goodbye()

    def _turn(self) -> None:
        self._flush()
        peer_fd = self._sock.fileno()
        interest = dict(self._interest())
        interest[peer_fd] = self._sock.interest(read=self._has_room(), write=bool(self._outgoing))
        buffered = self._has_room() and self._sock.has_buffered
        ready = wait_for(interest, 0 if buffered else self._wait_s(), peer_fd)
        self._note_activity(ready)
        if ready.get(peer_fd, 0) & BROKEN:
            self._is_gone = True
        elif buffered or ready.get(peer_fd):
            self._hear()
        if not self._is_gone:
            self._handle(ready)

    def _note_activity(self, ready: Mapping[int, int]) -> None:
        if ready:
            self._active_at_s = time.monotonic()
        elif self._active_at_s + self._idle_timeout_s <= time.monotonic():
            log.info("streaming session: idle for %g s", self._idle_timeout_s)
            self._is_gone = True

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        idle_s = self._active_at_s + self._idle_timeout_s - now_s
        deadline_s = self._deadline_s()
        return idle_s if deadline_s is None else min(idle_s, deadline_s - now_s)

    def _hear(self) -> None:
        if not self._has_room():
            return
        data = self._sock.receive()
        if data == b"":
            self._is_gone = True
        elif data:
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            self._receive(data)
        finally:
            self._outgoing += self._wire.take_output()

    def _flush(self) -> None:
        """A peer that hears no more may have said its last already: it is read to its end."""
        self._outgoing += self._wire.take_output()
        try:
            while self._outgoing and (taken := self._sock.send(self._outgoing)):
                del self._outgoing[:taken]
        except OSError as error:
            log.debug("streaming session: the peer hears no more: %s", error)
            self._outgoing.clear()

    @property
    def _is_clear(self) -> bool:
        """Whether there is room for more to the peer."""
        return len(self._outgoing) < OUTGOING_MAX_BYTES

    def _say_goodbye(self) -> None:
        """The last bytes, and then the peer's hanging up is awaited for a while."""
        deadline_s = time.monotonic() + _LINGER_S
        try:
            self._flush()
            while self._outgoing and not self._is_gone and time.monotonic() < deadline_s:
                wait_for({self._sock.fileno(): WRITE}, deadline_s - time.monotonic())
                self._flush()
            self._sock.end()
            while not self._is_gone and time.monotonic() < deadline_s:
                wait_for({self._sock.fileno(): READ}, deadline_s - time.monotonic())
                self._is_gone = self._sock.drain()
        except OSError:
            pass  # it has gone without one
