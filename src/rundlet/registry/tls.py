"""TLS to registries: system roots, SSL_CERT_FILE and the certs.d directories.

certs.d/<host[:port]>/       (containers-certs.d(5))
    *.crt                    further roots, PEM
    NAME.cert + NAME.key     our certificate for this host
"""

import os
import ssl
from collections.abc import Callable
from typing import BinaryIO, Protocol, TypeVar

from rundlet.errors import FailedPrecondition
from rundlet.registry.settings import RegistrySettings

T = TypeVar("T")
_RECORD_BYTES = 1 << 16
# What OpenSSL calls it when the peer answers the handshake with something that
# is not TLS: an HTTP server's "HTTP/1.1 400".
_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)


class Stream(Protocol):
    """What is used of a socket, and what TLS within TLS has of it."""

    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def sendfile(self, file: BinaryIO, /) -> object: ...
    def settimeout(self, timeout_s: float, /) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


def find_cert_dir(settings: RegistrySettings, authority: str) -> str:
    """The directory with the certificates for `authority`, "" for none."""
    usual = (os.path.join(directory, authority) for directory in settings.certs_dirs)
    return settings.cert_dir or next(filter(os.path.isdir, usual), "")


def make_tls_context(cert_dir: str, authority: str, *, verify: bool) -> ssl.SSLContext:
    """The context for connections to `authority`; FailedPrecondition for unreadable certificates.

    SSL_CERT_FILE and SSL_CERT_DIR are OpenSSL's own and replace the system's roots.
    """
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for name in _list_directory(cert_dir):
        path = os.path.join(cert_dir, name)
        try:
            _load(context, path)
        except (OSError, ssl.SSLError) as error:
            raise FailedPrecondition(
                f"registry {authority}: cannot use certificate {path}: {error}"
            ) from error
    return context


def _list_directory(path: str) -> list[str]:
    if not path:
        return []
    try:
        return sorted(os.listdir(path))
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise FailedPrecondition(f"cannot read the certificates in {path}: {reason}") from error


def _load(context: ssl.SSLContext, path: str) -> None:
    stem, extension = os.path.splitext(path)
    if extension == ".crt":
        context.load_verify_locations(path)
    elif extension == ".cert":
        context.load_cert_chain(path, f"{stem}.key")


def speaks_no_tls(error: ssl.SSLError) -> bool:
    return error.reason in _NOT_TLS


def explain_tls_error(error: ssl.SSLError) -> tuple[str, str]:
    """(reason, hint) for people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate does not verify: {error.verify_message}"
        return reason, "add its CA to certs.d/<host>/ca.crt or name it in SSL_CERT_FILE"
    if speaks_no_tls(error):
        return "it does not speak TLS", "list it as an insecure host to allow plain HTTP"
    return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}", ""


def is_tls(sock: object) -> bool:
    return isinstance(sock, ssl.SSLSocket | NestedTls)


class NestedTls:
    """TLS inside a connection that is TLS itself (an https proxy's), with what `Connection` uses of a socket."""

    def __init__(self, outer: Stream, context: ssl.SSLContext, host: str) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._run(self._tls.do_handshake)

    def _run(self, action: Callable[[], T]) -> T:
        """`action`, carrying what it wants to say and to hear over the outer connection."""
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._outer.recv(_RECORD_BYTES)
                self._incoming.write(data) if data else self._incoming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._outer.sendall(data)

    def recv(self, size: int) -> bytes:
        try:
            return self._run(lambda: self._tls.read(size))
        except ssl.SSLZeroReturnError:
            return b""

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._run(lambda: self._tls.write(view)) :]  # noqa: B023 - called at once

    def sendfile(self, file: BinaryIO) -> None:
        while data := file.read(_RECORD_BYTES):
            self.sendall(data)

    def settimeout(self, timeout_s: float) -> None:
        self._outer.settimeout(timeout_s)

    def fileno(self) -> int:
        return self._outer.fileno()

    def close(self) -> None:
        self._outer.close()
