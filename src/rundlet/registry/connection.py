"""Connections to registries: direct or through a proxy, plain or by TLS, kept for the next request.

direct               we ── registry
http by a proxy      we ── proxy: GET http://registry/…
https by a proxy     we ── proxy: CONNECT registry:443, then TLS to the registry inside
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from select import POLLIN, poll
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, cast
from urllib.parse import unquote, urlsplit

from rundlet.registry.wire import Body, Garbled, Head, Inflow, write_head

if TYPE_CHECKING:
    import ssl

    from rundlet.registry.tls import Stream

_IDLE_MAX: Final = 16
_LABEL_MAX: Final = 63  # RFC 1035, 2.3.4
_PORTS: Final = {"http": 80, "https": 443}

Payload = bytes | BinaryIO | Iterator[bytes]


class BadAddress(Exception):
    """A host's name that no resolver takes."""


class ProxyFailure(Exception):
    """What went wrong between us and the proxy; the reason, or the error that is the cause."""


class Proxy(NamedTuple):
    """`authorization` is the value of Proxy-Authorization, "" for none."""

    scheme: str
    host: str
    port: int
    authorization: str = ""


class Route(NamedTuple):
    """How an origin is reached; the context makers are asked when TLS is needed."""

    scheme: str
    authority: str
    make_context: "Callable[[], ssl.SSLContext]"
    proxy: Proxy | None = None
    make_proxy_context: "Callable[[], ssl.SSLContext] | None" = None


def parse_proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    authorization = ""
    if user:
        from base64 import b64encode

        authorization = f"Basic {b64encode(unquote(user).encode()).decode()}"
    return Proxy(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], authorization)


class Connection:
    """One connection, used by one request at a time; every wait is bounded by `set_timeout`.

    Raises OSError (TimeoutError, ssl.SSLError), Garbled.
    """

    def __init__(self, sock: "Stream", forward: str = "", authorization: str = "") -> None:
        self._sock = sock
        self._forward = forward
        self._authorization = authorization
        self._inflow = Inflow(sock.recv)
        self._deadline_s = float("inf")

    def set_timeout(self, timeout_s: float) -> None:
        self._sock.settimeout(timeout_s)

    def send(self, method: str, target: str, headers: dict[str, str], payload: Payload) -> None:
        """A whole request; a payload without a length in `headers` goes out in chunks."""
        if self._authorization:
            headers = {**headers, "Proxy-Authorization": self._authorization}
        chunked = not isinstance(payload, bytes) and "Content-Length" not in headers
        if chunked:
            headers = {**headers, "Transfer-Encoding": "chunked"}
        head = write_head(method, f"{self._forward}{target}", headers)
        if isinstance(payload, bytes):
            self._sock.sendall(head + payload)
            return
        self._sock.sendall(head)
        if hasattr(payload, "read"):
            self._sock.sendfile(cast("BinaryIO", payload))
        else:
            self._send_parts(payload, chunked=chunked)

    def _send_parts(self, parts: Iterator[bytes], *, chunked: bool) -> None:
        for part in parts:
            if chunked and part:
                self._sock.sendall(b"%x\r\n" % len(part))
                self._sock.sendall(part)
                self._sock.sendall(b"\r\n")
            elif part:
                self._sock.sendall(part)
        if chunked:
            self._sock.sendall(b"0\r\n\r\n")

    def read_head(self, timeout_s: float) -> Head:
        """The answer's head, all of it in this time: a peer that sends a byte now and then cannot hold us."""
        deadline_s = time.monotonic() + timeout_s

        def receive(size: int) -> bytes:
            self._sock.settimeout(max(deadline_s - time.monotonic(), 0.001))
            return self._sock.recv(size)

        self._inflow.receive = receive
        try:
            return self._inflow.read_head()
        finally:
            self._inflow.receive = self._sock.recv
            self._sock.settimeout(timeout_s)

    def open_body(self, method: str, head: Head) -> Body:
        return Body(self._inflow, method, head)

    def is_quiet(self) -> bool:
        """Whether an idle connection may be used: nothing unasked for has come, not even its end."""
        waiting = poll()
        waiting.register(self._sock.fileno(), POLLIN)
        return self._inflow.empty and not waiting.poll(0)

    def close(self) -> None:
        with suppress(OSError):
            self._sock.close()


class Pool:
    """The idle connections of one origin; safe for threads."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False
        self._context: ssl.SSLContext | None = None

    def take(self, timeout_s: float) -> Connection:
        """An idle connection, or a new one within `timeout_s`.

        Raises OSError, BadAddress, ProxyFailure, Garbled.
        """
        while connection := self._pop():
            if connection.is_quiet():
                return connection
            connection.close()
        return self._connect(timeout_s)

    def _pop(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last answer has been read to its end."""
        with self._lock:
            if len(self._idle) < _IDLE_MAX and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle now, and what comes back later."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self, timeout_s: float) -> Connection:
        route = self._route
        parts = urlsplit(f"//{route.authority}")
        host, port = parts.hostname or "", parts.port or _PORTS[route.scheme]
        if route.proxy is None:
            sock = _dial(host, port, timeout_s)
        else:
            sock = self._dial_proxy(route.proxy, timeout_s)
            if route.scheme == "http":
                return Connection(sock, f"http://{route.authority}", route.proxy.authorization)
            _ask_tunnel(sock, f"{_bracket(host)}:{port}", route.proxy.authorization, timeout_s)
        return Connection(sock if route.scheme == "http" else _wrap(sock, self._tls_context(), host))

    def _tls_context(self) -> "ssl.SSLContext":
        with self._lock:
            if self._context is None:
                self._context = self._route.make_context()
            return self._context

    def _dial_proxy(self, proxy: Proxy, timeout_s: float) -> "Stream":
        try:
            sock = _dial(proxy.host, proxy.port, timeout_s)
            if proxy.scheme == "http" or self._route.make_proxy_context is None:
                return sock
            return _wrap(sock, self._route.make_proxy_context(), proxy.host)
        except (OSError, BadAddress) as error:
            raise ProxyFailure(error) from error


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _dial(host: str, port: int, timeout_s: float) -> "Stream":
    if not host.isascii() or any(not 0 < len(each) <= _LABEL_MAX for each in host.rstrip(".").split(".")):
        raise BadAddress(host)
    # As bytes: text would be taken for an internationalized name, whose codec is a slow import.
    sock = socket.create_connection((host.encode(), port), timeout_s)  # type: ignore[arg-type]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _wrap(sock: "Stream", context: "ssl.SSLContext", host: str) -> "Stream":
    """TLS over `sock`, which is closed when that fails."""
    from rundlet.registry.tls import NestedTls, is_tls

    try:
        if is_tls(sock):
            return NestedTls(sock, context, host)
        return context.wrap_socket(cast("socket.socket", sock), server_hostname=host)
    except BaseException:
        sock.close()
        raise


def _ask_tunnel(sock: "Stream", target: str, authorization: str, timeout_s: float) -> None:
    """CONNECT (RFC 9110, 9.3.6)."""
    headers = {"Host": target} | ({"Proxy-Authorization": authorization} if authorization else {})
    try:
        tunnel = Connection(sock)
        sock.sendall(write_head("CONNECT", target, headers))
        status = tunnel.read_head(timeout_s).status
    except (OSError, Garbled) as error:
        sock.close()
        raise ProxyFailure(error) from error
    if not 200 <= status < 300:
        sock.close()
        raise ProxyFailure(f"it answered with HTTP status {status}")
