"""The session of a port-forward: TCP connections into one pod, as the client asks for them."""

import logging
import socket
import time
from collections.abc import Callable, Mapping

from rundlet.cri.stream_session import Session
from rundlet.cri.stream_socket import READ, WRITE, ClientSocket
from rundlet.engine.streams import Dial
from rundlet.errors import Error
from rundlet.streaming.portforward import (
    ForwardData,
    ForwardEnded,
    ForwardEvent,
    ForwardOpened,
    ForwardReset,
    ForwardServer,
    ForwardsGone,
)

HELD_MAX_BYTES = 256 * 1024  # from the client, of one connection, before no more is read
PAIR_TIMEOUT_S = 30.0  # for the second stream of a connection
DIAL_TIMEOUT_S = 30.0

_READ_BYTES = 32 * 1024

log = logging.getLogger(__name__)


class _Target:
    """One connection into the pod: being made (`dial`), or made (`sock`)."""

    __slots__ = ("dial", "has_client_ended", "has_ended", "held", "is_shut", "late_at_s", "sock")

    def __init__(self, dial: Dial) -> None:
        self.dial = dial
        self.sock: socket.socket | None = None
        self.held = bytearray()
        self.late_at_s = time.monotonic() + DIAL_TIMEOUT_S
        self.has_client_ended = False
        self.has_ended = False
        self.is_shut = False  # for writing

    def fileno(self) -> int:
        return self.sock.fileno() if self.sock else self.dial.fileno()

    def close(self) -> None:
        self.dial.close()
        if self.sock is not None:
            self.sock.close()


class ForwardSession(Session):
    """Serves one client; `dial` begins a connection to a port and may raise an Error."""

    def __init__(
        self, sock: ClientSocket, server: ForwardServer, dial: Callable[[int], Dial], idle_timeout_s: float
    ) -> None:
        super().__init__(sock, server, idle_timeout_s)
        self._server = server
        self._dial = dial
        self._targets: dict[str, _Target] = {}
        self._pair_by_s: dict[str, float] = {}

    # -- from the client --------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        for event in self._server.receive(data):
            self._obey(event)
        now_s = time.monotonic()
        waiting = self._server.half_open
        self._pair_by_s = {key: self._pair_by_s.get(key, now_s + PAIR_TIMEOUT_S) for key in waiting}

    def _obey(self, event: ForwardEvent) -> None:
        match event:
            case ForwardOpened(key, port):
                self._open(key, port)
            case ForwardData(key, data):
                self._hold(key, data)
            case ForwardEnded(key) if key in self._targets:
                self._targets[key].has_client_ended = True
            case ForwardReset(key):
                self._drop(key)
            case ForwardsGone():
                self._is_gone = True

    def _open(self, key: str, port: int) -> None:
        try:
            self._targets[key] = _Target(self._dial(port))
        except Error as error:
            log.info("port-forward: %s", error)
            self._server.fail(key, error.message)

    def _hold(self, key: str, data: bytes) -> None:
        target = self._targets.get(key)
        if target is None:
            self._server.consume(key, len(data))
        else:
            target.held += data

    def _has_room(self) -> bool:
        return all(len(target.held) < HELD_MAX_BYTES for target in self._targets.values())

    # -- the loop's questions ------------------------------------------------------------------

    def _deadline_s(self) -> float | None:
        dials = (target.late_at_s for target in self._targets.values() if target.sock is None)
        return min((*self._pair_by_s.values(), *dials), default=None)

    def _interest(self) -> Mapping[int, int]:
        return {target.fileno(): self._wanted(key, target) for key, target in self._targets.items()}

    def _wanted(self, key: str, target: _Target) -> int:
        if target.sock is None:
            return WRITE
        may_read = self._is_clear and not target.has_ended and self._server.credit(key) > 0
        return READ * may_read | WRITE * bool(target.held)

    def _handle(self, ready: Mapping[int, int]) -> None:
        for key, target in list(self._targets.items()):
            try:
                self._move(key, target, ready.get(target.fileno(), 0))
            except OSError as error:
                log.debug("port-forward: connection %s: %s", key, error)
                self._server.end(key)
                self._drop(key)
        self._expire()

    def _expire(self) -> None:
        now_s = time.monotonic()
        for key, pair_by_s in list(self._pair_by_s.items()):
            if pair_by_s <= now_s:
                del self._pair_by_s[key]
                self._server.fail(key, f"the second stream has not come within {PAIR_TIMEOUT_S:g} s")

    # -- one connection ---------------------------------------------------------------------------

    def _move(self, key: str, target: _Target, events: int) -> None:
        if target.sock is None:
            self._connect(key, target, events)
            return
        if events & READ and not target.has_ended:
            self._read(key, target, target.sock)
        if target.held and events & WRITE:
            taken = target.sock.send(target.held)
            del target.held[:taken]
            self._server.consume(key, taken)
        self._end_client_side(target, target.sock)
        if target.has_ended and target.has_client_ended:
            self._drop(key)

    def _connect(self, key: str, target: _Target, events: int) -> None:
        try:
            if events:
                target.sock = target.dial.advance()
            elif target.late_at_s <= time.monotonic():
                raise TimeoutError
        except (Error, TimeoutError) as error:
            message = error.message if isinstance(error, Error) else "the connection takes too long"
            self._server.fail(key, message)
            self._drop(key)

    def _read(self, key: str, target: _Target, sock: socket.socket) -> None:
        credit = self._server.credit(key)
        if not credit:
            return  # another connection has used up the window that they share
        try:
            data = sock.recv(min(_READ_BYTES, credit))
        except BlockingIOError:
            return
        if data:
            self._server.send(key, data)
        else:
            target.has_ended = True
            self._server.end(key)

    def _end_client_side(self, target: _Target, sock: socket.socket) -> None:
        """Once, when all that the client sent has been passed on."""
        if target.has_client_ended and not target.held and not target.is_shut:
            target.is_shut = True
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the other side has gone already

    def _drop(self, key: str) -> None:
        target = self._targets.pop(key, None)
        if target is not None:
            target.close()

    def _close(self) -> None:
        for key in list(self._targets):
            self._drop(key)
        self._server.close()
