"""The keeper's side of the wire: connections, requests, answers."""

import os
import socket
from collections.abc import Callable
from typing import Any

from rundlet.errors import Error, Internal, InvalidArgument, Unavailable
from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import OLDER_HINT, Packet, receive_packet, send_packet
from rundlet.step import step


class Request:
    """One request; answered once, or again and again where the protocol says so."""

    __slots__ = ("_client", "args", "fds", "id", "raw")

    def __init__(self, client: "Client", packet: Packet) -> None:
        self._client = client
        self.id = packet.message.get("id", 0)
        self.args: dict[str, Any] = packet.message.get("args", {})
        self.fds = packet.fds
        self.raw = packet.raw  # for whoever it is handed on to; dropped with the verb

    def answer(self, ok: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        with step("keeper.answer"):
            self._client.send({"id": self.id, "ok": ok}, fds)

    def fail(self, error: Error) -> None:
        self._client.send({"id": self.id, "error": [error.code, error.message, error.hint]})

    @property
    def is_abandoned(self) -> bool:
        """The caller has closed its connection."""
        return self._client.is_closed

    def on_farewell(self, callback: Callable[[], None] | None) -> None:
        """Call back when the caller's connection closes; None: no more."""
        self._client.farewell = callback

    def close_fds(self) -> None:
        for fd in self.fds:
            os.close(fd)
        self.fds = []


Verb = Callable[[Request], None]


class Client:
    """One connection of an engine."""

    def __init__(self, sock: socket.socket, server: "Server") -> None:
        self._sock = sock
        self._server = server
        self.is_closed = False
        self.farewell: Callable[[], None] | None = None
        sock.setblocking(False)
        server.loop.add(sock.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            packet = receive_packet(self._sock)
        except BlockingIOError:
            return
        except (OSError, Error, ValueError):
            packet = None
        if packet is None:
            self.close()
            return
        self._server.serve(packet.message.get("verb", ""), Request(self, packet))

    def send(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """A client that does not read loses its connection: the keeper waits for nobody."""
        if self.is_closed:
            return
        try:
            send_packet(self._sock, message, fds)
        except OSError:
            self.close()

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._server.loop.remove(self._sock.fileno())
            self._sock.close()
            self._server.clients.discard(self)
            if self.farewell is not None:
                self.farewell()


class Server:
    """Accepts connections and hands each request to its verb."""

    def __init__(self, loop: Loop, listener: socket.socket, verbs: dict[str, Verb]) -> None:
        self.loop = loop
        self.clients: set[Client] = set()
        self._listener = listener
        self._verbs = verbs
        listener.setblocking(False)
        loop.add(listener.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self.clients.add(Client(sock, self))

    def close(self) -> None:
        """Every connection; the listening socket stays."""
        for client in list(self.clients):
            client.close()
        self.loop.remove(self._listener.fileno())

    def serve(self, verb: str, request: Request) -> None:
        """Run a verb; whatever it raises is the answer, and never the end of the keeper."""
        try:
            handler = self._verbs.get(verb)
            if handler is None:
                raise Unavailable(f"keeper: it does not know the request {verb!r}", hint=OLDER_HINT)
            handler(request)
        except Error as error:
            request.fail(error)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            request.fail(InvalidArgument(f"keeper: {verb}: bad request: {error!r}"))
        except OSError as error:
            request.fail(Internal(f"keeper: {verb}: {error}"))
        finally:
            request.close_fds()
            request.raw = b""
