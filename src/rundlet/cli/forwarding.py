"""The user's end of a port-forward: local listeners, and a connection into the pod for each client."""

import socket
from collections.abc import Mapping, Sequence

from rundlet.cri.stream_client import ForwardStream
from rundlet.cri.stream_session import Session
from rundlet.cri.stream_socket import READ, WRITE
from rundlet.errors import InvalidArgument, Unavailable
from rundlet.streaming.portforward import ForwardData, ForwardEnded, ForwardEvent, ForwardReset, ForwardsGone

_LOCALHOST = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_HELD_MAX_BYTES = 256 * 1024
_READ_BYTES = 32 * 1024


def parse_ports(text: str) -> tuple[int, int]:
    """(local, remote) from "8080:80", ":80" (any local port) or "80"; InvalidArgument otherwise."""
    local, colon, remote = text.rpartition(":")
    local = local or ("0" if colon else remote)
    if not all(part.isascii() and part.isdigit() and int(part) <= 65535 for part in (local, remote)):
        raise InvalidArgument(f"ports: expected [LOCAL]:REMOTE or PORT, got {text!r}")
    if not int(remote):
        raise InvalidArgument(f"ports: the pod's port must not be 0, got {text!r}")
    return int(local), int(remote)


def listen_local(local: int, remote: int) -> Sequence[socket.socket]:
    """On both loopbacks at the same port, or on the one that can be had; says where.

    Raises Unavailable when neither can.
    """
    listeners: list[socket.socket] = []
    failure: OSError | None = None
    for family, address in _LOCALHOST:
        try:
            listener = socket.create_server((address, local), family=family)
        except OSError as error:
            failure = failure or error
            continue
        local = listener.getsockname()[1]
        host = f"[{address}]" if family == socket.AF_INET6 else address
        print(f"Forwarding from {host}:{local} -> {remote}", flush=True)
        listener.setblocking(False)
        listeners.append(listener)
    if not listeners:
        raise Unavailable(f"cannot listen on local port {local}: {failure}") from failure
    return listeners


class _Local:
    """A local client's connection."""

    __slots__ = ("has_ended", "has_remote_ended", "held", "is_shut", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held = bytearray()  # for it
        self.has_ended = False
        self.has_remote_ended = False
        self.is_shut = False


class Forwarder(Session):
    """Until it is interrupted or the runtime hangs up."""

    def __init__(self, stream: ForwardStream, listeners: Mapping[socket.socket, int]) -> None:
        """`listeners`: the pod's port by local listener."""
        super().__init__(stream.sock, stream.client, idle_timeout_s=float("inf"))
        self._client = stream.client
        self._listeners = {listener.fileno(): (listener, port) for listener, port in listeners.items()}
        self._locals: dict[str, _Local] = {}

    def _receive(self, data: bytes) -> None:
        for event in self._client.receive(data):
            self._obey(event)

    def _obey(self, event: ForwardEvent) -> None:
        match event:
            case ForwardData(key, data) if key in self._locals:
                self._locals[key].held += data
            case ForwardData(key, data):
                self._client.consume(key, len(data))
            case ForwardEnded(key) if key in self._locals:
                self._locals[key].has_remote_ended = True
            case ForwardReset(key, message):
                if message:
                    print(f"rundlet: {message}", flush=True)
                self._drop(key)
            case ForwardsGone():
                self._is_gone = True

    def _interest(self) -> Mapping[int, int]:
        interest = dict.fromkeys(self._listeners, READ)
        for key, local in self._locals.items():
            may_read = self._is_clear and not local.has_ended and self._client.credit(key) > 0
            interest[local.sock.fileno()] = READ * may_read | WRITE * bool(local.held)
        return interest

    def _handle(self, ready: Mapping[int, int]) -> None:
        for fd in ready.keys() & self._listeners.keys():
            self._accept(*self._listeners[fd])
        for key, local in list(self._locals.items()):
            try:
                self._move(key, local, ready.get(local.sock.fileno(), 0))
            except OSError:
                self._client.abort(key)
                self._drop(key)

    def _accept(self, listener: socket.socket, port: int) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        print(f"Handling connection for {listener.getsockname()[1]}", flush=True)
        self._locals[self._client.open(port)] = _Local(sock)

    def _move(self, key: str, local: _Local, events: int) -> None:
        if events & READ and not local.has_ended:
            self._read(key, local)
        if local.held and events & WRITE:
            taken = local.sock.send(local.held)
            del local.held[:taken]
            self._client.consume(key, taken)
        if local.has_remote_ended and not local.held and not local.is_shut:
            local.is_shut = True
            local.sock.shutdown(socket.SHUT_WR)
        if local.is_shut and local.has_ended:
            self._drop(key)

    def _read(self, key: str, local: _Local) -> None:
        credit = self._client.credit(key)
        if not credit:
            return  # another connection has used up the window that they share
        data = local.sock.recv(min(_READ_BYTES, credit))
        if data:
            self._client.send(key, data)
        else:
            local.has_ended = True
            self._client.end(key)

    def _drop(self, key: str) -> None:
        local = self._locals.pop(key, None)
        if local is not None:
            local.sock.close()

    def _deadline_s(self) -> float | None:
        return None

    def _has_room(self) -> bool:
        return all(len(local.held) < _HELD_MAX_BYTES for local in self._locals.values())

    def _close(self) -> None:
        for key in list(self._locals):
            self._drop(key)
        self._client.close()
