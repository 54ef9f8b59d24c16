"""The streaming server: one HTTP listener that clients of Exec, Attach and PortForward are sent to.

    kubelet ──Exec──▶ rundletd ──▶ "http://127.0.0.1:41235/exec/TOKEN"
    kubelet ──GET or POST /exec/TOKEN, Upgrade──▶ this server ──▶ process

A token lets one client in, once (stream_tokens.py).  Every session has a thread of its own that
sleeps in poll(2): an idle one costs a stack and no time.
"""

import logging
import socket
import threading
import time
from typing import NamedTuple

from rundlet.cri.stream_routes import KINDS, Refused, check_request, make_session
from rundlet.cri.stream_socket import ClientSocket
from rundlet.cri.stream_tls import TlsContext
from rundlet.cri.stream_tokens import Order, Tokens
from rundlet.engine.engine import Engine
from rundlet.errors import DeadlineExceeded, Error, InvalidArgument, Unavailable
from rundlet.streaming.handshake import Upgrade, UpgradeReader, accept

HANDSHAKE_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 4 * 3600.0  # the kubelet's default
SESSIONS_MAX = 1024

_STOP_TIMEOUT_S = 5.0
_ACCEPT_PAUSE_S = 0.1  # after a failed accept(2): out of descriptors, most likely
_SELF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where clients of a wildcard go: they are local

log = logging.getLogger(__name__)


class StreamSettings(NamedTuple):
    """Where to listen: port 0 is any free one.  With a certificate and key (paths, PEM) it speaks TLS."""

    address: str = "127.0.0.1"
    port: int = 0
    tls_cert: str = ""
    tls_key: str = ""
    idle_timeout_s: float = IDLE_TIMEOUT_S


class StreamServer:
    """Listens from the moment it is made; `url` sends clients here, `start` lets them in."""

    def __init__(self, engine: Engine, settings: StreamSettings = StreamSettings()) -> None:  # noqa: B008
        """Raises Unavailable when the address cannot be had, InvalidArgument for unusable TLS files."""
        self._engine = engine
        self._settings = settings
        self._tls = _make_tls(settings)
        self._tokens = Tokens()
        self._lock = threading.Lock()
        self._sessions: dict[threading.Thread, ClientSocket] = {}
        self._is_stopping = False
        self._listener = _listen(settings)
        self._acceptor = threading.Thread(target=self._accept_all, name="stream-accept", daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, order: Order) -> str:
        """Where the client of an RPC has to go; raises ResourceExhausted when too many are on their way."""
        address = _SELF.get(self._settings.address, self._settings.address)
        host = f"[{address}]" if ":" in address else address
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{host}:{self.port}/{KINDS[type(order)]}/{self._tokens.issue(order)}"

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """No new clients; the ones there are hung up on."""
        with self._lock:
            self._is_stopping = True
            sessions = dict(self._sessions)
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2)
        except OSError:
            pass
        for client in sessions.values():
            client.stop()
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        for thread in sessions:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        if self._acceptor.ident is not None:
            self._acceptor.join()
        self._listener.close()

    # -- clients ------------------------------------------------------------------------------

    def _accept_all(self) -> None:
        while not self._is_stopping:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if not self._is_stopping:
                    log.warning("streaming server: accept: %s", error)
                    time.sleep(_ACCEPT_PAUSE_S)
                continue
            self._admit(ClientSocket(sock))

    def _admit(self, client: ClientSocket) -> None:
        thread = threading.Thread(target=self._serve, args=(client,), name="stream", daemon=True)
        with self._lock:
            is_welcome = not self._is_stopping and len(self._sessions) < SESSIONS_MAX
            if is_welcome:
                self._sessions[thread] = client
        if is_welcome:
            thread.start()
        else:
            client.close()

    def _serve(self, client: ClientSocket) -> None:
        try:
            self._serve_one(client)
        except (Error, OSError) as error:
            log.info("streaming client: %s", error)
        except Exception:
            log.exception("streaming client: the session failed")
        finally:
            with self._lock:
                del self._sessions[threading.current_thread()]
            client.close()

    def _serve_one(self, client: ClientSocket) -> None:
        deadline_s = time.monotonic() + HANDSHAKE_TIMEOUT_S
        client.limit(HANDSHAKE_TIMEOUT_S)
        if self._tls is not None:
            client.secure(self._tls.get())
        try:
            upgrade = _read_upgrade(client, deadline_s)
            ticket = check_request(upgrade, self._tokens)
            session = make_session(self._engine, ticket, client, self._settings.idle_timeout_s)
        except Refused as refused:
            client.send_last(refused.answer)
            return
        except InvalidArgument as error:
            client.send_last(Refused(400, error.message).answer)
            return
        client.begin()
        session.run(upgrade.rest, accept(upgrade, ticket.protocol))


def _make_tls(settings: StreamSettings) -> TlsContext | None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise InvalidArgument("streaming TLS: certificate and key belong together")
    return TlsContext(settings.tls_cert, settings.tls_key) if settings.tls_cert else None


def _listen(settings: StreamSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    try:
        return socket.create_server((settings.address, settings.port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"cannot listen for streaming on {settings.address} port {settings.port}: {error}"
        ) from error


def _read_upgrade(client: ClientSocket, deadline_s: float) -> Upgrade:
    reader = UpgradeReader()
    while True:
        data = client.receive()
        if not data or time.monotonic() >= deadline_s:
            raise DeadlineExceeded("the client has not sent a whole request")
        upgrade = reader.receive(data)
        if upgrade is not None:
            return upgrade
