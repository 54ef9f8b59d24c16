"""HTTP to registries: pools, proxies, plain or TLS, and failures in one line.

One attempt a call: what may be tried again is raised as Interrupted and left to
the flow.  Redirects are the flow's too.
"""

import http.client
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Never
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.util import Timeout, make_headers

from rundlet.errors import Error, InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable
from rundlet.registry.host import host_of, is_listed, is_loopback, registry_authority, split_origin
from rundlet.registry.message import FileBody, Interrupted, Request, Response, StreamBody
from rundlet.registry.retry import Limits
from rundlet.registry.settings import RegistrySettings
from rundlet.registry.tls import explain_tls_error, find_cert_dir, make_tls_context
from rundlet.step import step
from rundlet.trace.span import waits

_POOL_SIZE = 16
_SEND_BLOCK_SIZE = 1 << 18


class Transport:
    """Connections to any number of hosts, kept and shared by threads."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._proxies = _find_proxies()
        self._lock = threading.Lock()
        self._managers: dict[str, urllib3.PoolManager] = {}
        self._origins: dict[str, str] = {}

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            managers = list(self._managers.values())
            self._managers.clear()
        for manager in managers:
            manager.clear()

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
        manager = self._find_manager(request.url)
        with _open_body(request.body) as body:
            try:
                answer = manager.urlopen(
                    request.method,
                    request.url,
                    body=body,
                    headers=self._make_headers(request),
                    timeout=self._make_timeout(limits),
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
            except (exceptions.HTTPError, OSError, http.client.HTTPException) as error:
                _raise_failure(error, name)
        stream = BodyStream(answer, name, limits)
        if request.stream and answer.status in (200, 206):
            return Response(answer.status, answer.headers, stream=stream)
        return Response(answer.status, answer.headers, stream.read_all(request.size_max))

    def _make_headers(self, request: Request) -> dict[str, str]:
        headers = {"User-Agent": self._settings.user_agent, "Accept-Encoding": "identity", **request.headers}
        if not isinstance(request.body, bytes) and request.body.size_bytes >= 0:
            headers["Content-Length"] = str(request.body.size_bytes)
        return headers

    def _make_timeout(self, limits: Limits) -> Timeout:
        left_s = limits.left_s()
        return Timeout(
            connect=min(self._settings.connect_timeout_s, left_s),
            read=min(self._settings.read_timeout_s, left_s),
        )

    def _find_manager(self, url: str) -> urllib3.PoolManager:
        scheme, authority = split_origin(url)
        if scheme == "http" and not self._may_be_plain(authority):
            raise PermissionDenied(
                f"registry {authority}: plain HTTP is refused",
                hint="list it as an insecure host to allow plain HTTP",
            )
        origin = f"{scheme}://{authority}"
        with self._lock:
            if origin not in self._managers:
                self._managers[origin] = self._make_manager(scheme, authority)
            return self._managers[origin]

    def _make_manager(self, scheme: str, authority: str) -> urllib3.PoolManager:
        context = None
        if scheme == "https":
            verify = not is_listed(authority, self._settings.insecure_hosts)
            cert_dir = find_cert_dir(self._settings, authority)
            context = make_tls_context(cert_dir, authority, verify=verify)
        proxy_url = self._find_proxy(scheme, authority)
        if not proxy_url:
            return urllib3.PoolManager(maxsize=_POOL_SIZE, ssl_context=context, blocksize=_SEND_BLOCK_SIZE)
        user = urlsplit(proxy_url).netloc.rpartition("@")[0]
        headers = make_headers(proxy_basic_auth=unquote(user)) if user else None
        return urllib3.ProxyManager(proxy_url, maxsize=_POOL_SIZE, ssl_context=context, proxy_headers=headers)

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


class BodyStream:
    """The unread body of one answer; failures are told as ours."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, name: str, limits: Limits) -> None:
        self._answer = answer
        self._name = name
        self._limits = limits

    @property
    def complete(self) -> bool:
        """Whether a length was announced and all of it has come."""
        return getattr(self._answer, "length_remaining", None) == 0

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they arrive, b"" at the end.

        Raises Interrupted when the connection breaks, DeadlineExceeded and
        Cancelled: a peer that sends a byte now and then cannot hold us.
        """
        self._limits.check(self._name)
        waits("registry", self._name.removeprefix("registry "))
        try:
            return self._answer.read1(size, decode_content=False)
        except (exceptions.HTTPError, OSError, http.client.HTTPException) as error:
            _raise_failure(error, self._name)

    def read_all(self, size_max: int) -> bytes:
        """The whole body; ResourceExhausted when it is longer, whatever length it announces."""
        chunks: list[bytes] = []
        left = size_max
        while chunk := self.read(min(left + 1, _SEND_BLOCK_SIZE)):
            chunks.append(chunk)
            left -= len(chunk)
            if left < 0:
                self.close()
                raise ResourceExhausted(f"{self._name}: an answer is longer than {size_max} bytes")
        self._answer.release_conn()
        return b"".join(chunks)

    def close(self) -> None:
        """Drop the connection when something is left to read, else keep it for the next request."""
        if not self.complete:
            self._answer.close()
        self._answer.release_conn()


def _open_body(
    body: bytes | FileBody | StreamBody,
) -> AbstractContextManager[bytes | BinaryIO | Iterator[bytes] | None]:
    if isinstance(body, bytes):
        return nullcontext(body or None)
    return body.open()


def _raise_failure(error: Exception, name: str) -> Never:
    raise _explain(error, name) from error


def _explain(error: Exception, name: str) -> Error:
    """Interrupted for what may pass by itself, Unavailable for what will not soon."""
    if isinstance(error, exceptions.ProxyError):
        return Unavailable(f"{name}: cannot connect through the proxy: {_reason(error.original_error)}")
    if isinstance(error, exceptions.SSLError | ssl.SSLError):
        return _explain_tls(error, name)
    if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        return Unavailable(f"{name}: cannot connect: {_reason(error)}", hint=_hint(error))
    if isinstance(error, exceptions.LocationValueError):
        return Unavailable(f"{name}: malformed address")
    timed_out = isinstance(error, exceptions.TimeoutError)
    return Interrupted(f"{name}: the connection broke: {_reason(error)}", timed_out=timed_out)


def _explain_tls(error: Exception, name: str) -> Error:
    inner = error if isinstance(error, ssl.SSLError) else error.args[0] if error.args else None
    if not isinstance(inner, ssl.SSLError):
        return Unavailable(f"{name}: TLS failed: {inner}")
    if isinstance(inner, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Interrupted(f"{name}: the connection broke: closed in the middle of TLS")
    reason, hint = explain_tls_error(inner)
    return Unavailable(f"{name}: {reason}", hint=hint)


def _find_os_error(error: BaseException | None) -> OSError | None:
    """The system's own error below urllib3's; it is the cause or the context of one of them."""
    for _ in range(8):
        if error is None or isinstance(error, OSError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _reason(error: Exception) -> str:
    cause = _find_os_error(error)
    if isinstance(cause, socket.gaierror):
        return _resolver_reason(cause)
    if cause is not None and cause.errno:
        return os.strerror(cause.errno).lower()
    if isinstance(error, exceptions.IncompleteRead):
        return "it ended early"
    if isinstance(error, exceptions.TimeoutError | TimeoutError):
        return "timed out"
    return "closed by the other side"


def _resolver_reason(error: socket.gaierror) -> str:
    if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
        return "host name not found"
    return f"host name not found: {(error.strerror or '').lower()}"


def _hint(error: Exception) -> str:
    if isinstance(_find_os_error(error), socket.gaierror):
        return "check the host's name, and that a name server can be reached from here"
    return ""
