"""HTTP to registries: pools, proxies, plain or TLS, and failures in one line.

One attempt a call: what may be tried again is raised as Interrupted and left to
the flow.  Redirects are the flow's too.
"""

import os
import socket
import sys
import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from rundlet.errors import Error, InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable
from rundlet.registry.connection import (
    BadAddress,
    Connection,
    Payload,
    Pool,
    ProxyFailure,
    Route,
    parse_proxy,
)
from rundlet.registry.host import host_of, is_listed, is_loopback, registry_authority, split_origin
from rundlet.registry.message import FileBody, Interrupted, Request, Response, StreamBody
from rundlet.registry.retry import Limits
from rundlet.registry.settings import RegistrySettings
from rundlet.registry.wire import Body, Garbled, Head
from rundlet.step import step
from rundlet.trace.span import waits

if TYPE_CHECKING:
    from ssl import SSLContext

_READ_BYTES: Final = 1 << 18
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Transport:
    """Connections to any number of hosts, kept and shared by threads."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._proxies = _find_proxies()
        self._lock = threading.Lock()
        self._pools: dict[str, Pool] = {}
        self._origins: dict[str, str] = {}

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close()

    def find_origin(self, domain: str, limits: Limits) -> str:
        """ "https://quay.io" for "quay.io"; hosts that may speak plain HTTP are asked once.

        On loopback plain HTTP is usual and comes first.  Elsewhere TLS does, even if its
        certificate is worth nothing: what can be encrypted is.
        """
        authority = registry_authority(domain)
        if not self._may_be_plain(authority):
            return f"https://{authority}"
        if authority not in self._origins:
            local = is_loopback(host_of(authority))
            found = self._find_answering(authority, ("http",) if local else ("https", "http"), limits)
            if not found:  # whoever comes up later is asked again
                return f"https://{authority}"
            self._origins[authority] = found
        return self._origins[authority]

    def _find_answering(self, authority: str, schemes: tuple[str, ...], limits: Limits) -> str:
        """The first origin that answers, "" for none; a server of TLS answers plain HTTP with 400."""
        for scheme in schemes:
            status = self._ping(f"{scheme}://{authority}/v2/", limits)
            if status is not None and (scheme, status) != ("http", 400):
                return f"{scheme}://{authority}"
        return ""

    def _may_be_plain(self, authority: str) -> bool:
        return is_loopback(host_of(authority)) or is_listed(authority, self._settings.insecure_hosts)

    def _ping(self, url: str, limits: Limits) -> int | None:
        """The status of an answer without credentials, None when there is none."""
        try:
            return self.send(Request("GET", url), limits).status
        except Interrupted as error:
            if error.timed_out:
                raise error.verdict from error
            return None
        except Unavailable:
            return None

    def send(self, request: Request, limits: Limits) -> Response:
        """One attempt at `request`.

        Raises Interrupted, Unavailable naming the host and the reason,
        DeadlineExceeded, Cancelled, ResourceExhausted for an overlong answer.
        """
        name = f"registry {split_origin(request.url)[1]}"
        limits.check(name)
        try:
            with step("registry.request", f"{request.method} {urlsplit(request.url).path}"):
                waits("registry", split_origin(request.url)[1])
                return self._send(request, limits, name)
        except Interrupted as error:
            limits.check(name, error)
            raise

    def _send(self, request: Request, limits: Limits, name: str) -> Response:
        pool = self._find_pool(request.url)
        connection = self._take(pool, limits, name)
        try:
            head = self._ask(connection, request, limits)
            body = connection.open_body(request.method, head)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError | Garbled):
                raise _explain(error, name) from error
            if isinstance(error, ValueError):
                raise InvalidArgument(f"{name}: {error}") from error
            raise
        stream = BodyStream(pool, connection, head, body, Reading(name, limits, self._settings))
        if request.stream and head.status in (200, 206):
            return Response(head.status, head.headers, stream=stream)
        return Response(head.status, head.headers, stream.read_all(request.size_max))

    def _take(self, pool: Pool, limits: Limits, name: str) -> Connection:
        try:
            return pool.take(min(self._settings.connect_timeout_s, limits.left_s()))
        except (OSError, BadAddress, ProxyFailure, Garbled) as error:
            raise _explain_connecting(error, name) from error

    def _ask(self, connection: Connection, request: Request, limits: Limits) -> Head:
        timeout_s = min(self._settings.read_timeout_s, limits.left_s())
        connection.set_timeout(timeout_s)
        parts = urlsplit(request.url)
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        headers = self._make_headers(request, parts.netloc)
        with _open_body(request.body) as payload:
            try:
                connection.send(request.method, target, headers, payload)
            except (BrokenPipeError, ConnectionResetError):
                # It may have said why it did not want the rest, which it would take for the next request.
                with suppress(OSError, Garbled):
                    return connection.read_head(timeout_s)._replace(keeps_open=False)
                raise
        return connection.read_head(timeout_s)

    def _make_headers(self, request: Request, authority: str) -> dict[str, str]:
        headers = {
            "Host": authority,
            "User-Agent": self._settings.user_agent,
            "Accept-Encoding": "identity",
            **request.headers,
        }
        size_bytes = len(request.body) if isinstance(request.body, bytes) else request.body.size_bytes
        if size_bytes > 0 or (size_bytes == 0 and request.method in _WITH_BODY):
            headers["Content-Length"] = str(size_bytes)
        return headers

    def _find_pool(self, url: str) -> Pool:
        scheme, authority = split_origin(url)
        if scheme == "http" and not self._may_be_plain(authority):
            raise PermissionDenied(
                f"registry {authority}: plain HTTP is refused",
                hint="list it as an insecure host to allow plain HTTP",
            )
        origin = f"{scheme}://{authority}"
        with self._lock:
            if origin not in self._pools:
                self._pools[origin] = Pool(self._make_route(scheme, authority))
            return self._pools[origin]

    def _make_route(self, scheme: str, authority: str) -> Route:
        settings = self._settings

        def make_context() -> "SSLContext":
            from rundlet.registry.tls import find_cert_dir, make_tls_context

            verify = not is_listed(authority, settings.insecure_hosts)
            return make_tls_context(find_cert_dir(settings, authority), authority, verify=verify)

        def make_proxy_context() -> "SSLContext":
            from rundlet.registry.tls import make_tls_context

            return make_tls_context("", authority, verify=True)

        proxy_url = self._find_proxy(scheme, authority)
        if not proxy_url:
            return Route(scheme, authority, make_context)
        return Route(scheme, authority, make_context, parse_proxy(proxy_url), make_proxy_context)

    def _find_proxy(self, scheme: str, authority: str) -> str:
        """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY give for a host, "" for none."""
        proxy_url = self._proxies.get(scheme, "")
        if not proxy_url or is_loopback(host_of(authority)):
            return ""
        from urllib.request import proxy_bypass

        if proxy_bypass(authority, self._proxies):
            return ""
        if "://" not in proxy_url:
            proxy_url = f"http://{proxy_url}"
        if not proxy_url.startswith(("http://", "https://")):
            raise InvalidArgument(
                f"proxy {split_origin(proxy_url)[1]}: only http and https proxies are supported"
            )
        return proxy_url


def _find_proxies() -> dict[str, str]:
    """Proxies by scheme, as the environment names them."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}  # importing what reads them takes a command 5 ms
    from urllib.request import getproxies_environment

    return getproxies_environment()


class Reading(NamedTuple):
    """How one answer's body is read."""

    name: str
    limits: Limits
    settings: RegistrySettings


class BodyStream:
    """The unread body of one answer; failures are told as ours."""

    def __init__(self, pool: Pool, connection: Connection, head: Head, body: Body, reading: Reading) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._keeps_open = head.keeps_open
        self._body = body
        self._name, self._limits = reading.name, reading.limits
        self._pace = Pace(reading)

    @property
    def complete(self) -> bool:
        """Whether the peer had said where the body ends, and all of it has come."""
        return self._body.ended

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they arrive, b"" at the end.

        Raises Interrupted when the connection breaks or brings too little, DeadlineExceeded and
        Cancelled: a peer that sends a byte now and then cannot hold us.
        """
        if self._connection is None:
            return b""
        self._limits.check(self._name)
        waits("registry", self._name.removeprefix("registry "))
        try:
            self._connection.set_timeout(self._pace.left_s())
            data = self._pace.measure(self._body, size)
        except (OSError, Garbled) as error:
            self.close()
            raise _explain(error, self._name) from error
        except Interrupted:
            self.close()
            raise
        if self._body.ended:
            self.close()
        return data

    def read_all(self, size_max: int) -> bytes:
        """The whole body; ResourceExhausted when it is longer, whatever length it announces."""
        chunks: list[bytes] = []
        left = size_max
        while chunk := self.read(min(left + 1, _READ_BYTES)):
            chunks.append(chunk)
            left -= len(chunk)
            if left < 0:
                self.close()
                raise ResourceExhausted(f"{self._name}: an answer is longer than {size_max} bytes")
        self.close()
        return b"".join(chunks)

    def close(self) -> None:
        """Drop the connection when something is left to read, else keep it for the next request."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._body.ended and self._keeps_open:
            self._pool.give_back(connection)
        else:
            connection.close()


class Pace:
    """Ends an answer that comes slower than `rate_min_bytes_s`, over `rate_window_s` of waiting for it.

    Only the time that we wait counts, not what we do between two reads.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._waited_ns = 0
        self._brought_bytes = 0

    def left_s(self) -> float:
        """How long one read may take."""
        return max(min(self._reading.settings.read_timeout_s, self._reading.limits.left_s()), 0.001)

    def measure(self, body: Body, size: int) -> bytes:
        """One read; Interrupted when the window is over and too little has come."""
        now_ns = self._reading.limits.clock.now_ns
        began_ns = now_ns()
        data = body.read(size)
        self._waited_ns += now_ns() - began_ns
        self._brought_bytes += len(data)
        name, _, settings = self._reading
        if self._waited_ns >= settings.rate_window_s * 1e9:
            rate_bytes_s = self._brought_bytes * 1e9 / self._waited_ns
            if rate_bytes_s < settings.rate_min_bytes_s and not body.ended:
                raise Interrupted(
                    f"{name}: too slow: {rate_bytes_s:.0f} bytes a second for {settings.rate_window_s:.0f} s",
                    timed_out=True,
                )
            self._waited_ns = self._brought_bytes = 0
        return data


def _open_body(body: bytes | FileBody | StreamBody) -> AbstractContextManager[Payload]:
    return nullcontext(body) if isinstance(body, bytes) else body.open()


def _explain_connecting(error: Exception, name: str) -> Error:
    """Nothing has been asked yet: who cannot be reached now will not be soon."""
    if isinstance(error, BadAddress):
        return Unavailable(f"{name}: malformed address")
    if isinstance(error, ProxyFailure):
        reason = error.args[0]
        text = _reason(reason) if isinstance(reason, Exception) else reason
        return Unavailable(f"{name}: cannot connect through the proxy: {text}")
    return _explain_tls(error, name) or Unavailable(
        f"{name}: cannot connect: {_reason(error)}", hint=_hint(error)
    )


def _explain(error: Exception, name: str) -> Error:
    """Interrupted for what may pass by itself, Unavailable for what will not soon."""
    return _explain_tls(error, name) or Interrupted(
        f"{name}: the connection broke: {_reason(error)}", timed_out=isinstance(error, TimeoutError)
    )


def _explain_tls(error: Exception, name: str) -> Error | None:
    """What TLS has to say, None when it is not its."""
    ssl = sys.modules.get("ssl")  # imported when the first TLS connection is made
    if ssl is None or not isinstance(error, ssl.SSLError) or isinstance(error, TimeoutError):
        return None
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Interrupted(f"{name}: the connection broke: closed in the middle of TLS")
    from rundlet.registry.tls import explain_tls_error

    reason, hint = explain_tls_error(error)
    return Unavailable(f"{name}: {reason}", hint=hint)


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return _resolver_reason(error)
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or "closed by the other side"


def _resolver_reason(error: socket.gaierror) -> str:
    if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
        return "host name not found"
    return f"host name not found: {(error.strerror or '').lower()}"


def _hint(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "check the host's name, and that a name server can be reached from here"
    return ""
