"""docker-daemon: images of a Docker daemon (or podman's service), by its HTTP API.

    GET  /images/<name>/get     ─▶ a docker-archive of one image
    POST /images/load           ◀─ a docker-archive, chunked
                                ─▶ lines of JSON; {"error": …} when it was refused

The daemon is at DOCKER_HOST unless said otherwise: unix:///path or tcp://host:port.
"""

import http.client
import json
import os
import socket
import tempfile
from typing import Final
from urllib.parse import quote, urlsplit

from rundlet.errors import Error, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from rundlet.image.dockerarchive import DockerArchiveDestination, DockerArchiveSource
from rundlet.image.files import CHUNK_BYTES
from rundlet.image.location import Location
from rundlet.image.tarindex import TarIndex

DEFAULT_HOST: Final = "unix:///var/run/docker.sock"
_TIMEOUT_S: Final = 60.0
_ANSWER_BYTES_MAX: Final = 1 << 20


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def _connect(host: str) -> http.client.HTTPConnection:
    host = host or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST
    parts = urlsplit(host)
    if parts.scheme == "unix":
        return _UnixConnection(parts.path)
    if parts.scheme in ("tcp", "http") and parts.hostname:
        return http.client.HTTPConnection(parts.hostname, parts.port or 2375, timeout=_TIMEOUT_S)
    raise InvalidArgument(f"docker daemon {host}: expected unix:///path or tcp://host:port")


def _failure(host: str, error: Exception) -> Error:
    where = host or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST
    reason = os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
    return Unavailable(f"docker daemon {where}: {reason}", hint="is it running? --daemon-host says where")


def _refusal(name: str, status: int, body: bytes) -> Error:
    try:
        reason = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        reason = f"HTTP status {status}"
    kind = NotFound if status == 404 else FailedPrecondition
    return kind(f"{name}: {' '.join(reason.split())[:200]}")


def open_daemon_image(location: Location, host: str, temporary: str | None = None) -> DockerArchiveSource:
    """The image as the daemon saves it, spooled to a temporary file; Unavailable without a daemon."""
    image = str(location.digest or location.reference)
    spool = tempfile.TemporaryFile("w+b", dir=temporary)  # noqa: SIM115 - the source closes it
    try:
        connection = _connect(host)
        try:
            connection.request("GET", f"/images/{quote(image, safe='')}/get")
            answer = connection.getresponse()
            if answer.status != 200:
                raise _refusal(str(location), answer.status, answer.read(_ANSWER_BYTES_MAX))
            while chunk := answer.read(CHUNK_BYTES):
                spool.write(chunk)
        except (OSError, http.client.HTTPException) as error:
            raise _failure(host, error) from error
        finally:
            connection.close()
        spool.seek(0)
        # The archive holds this image alone, under whatever name the daemon knows it by.
        return DockerArchiveSource(location._replace(reference=None), TarIndex(spool, str(location)))
    except BaseException:
        spool.close()
        raise


class _ChunkedBody:
    """A request's body of unknown length (RFC 9112, 7.1)."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def write(self, data: bytes, /) -> int:
        if data:
            self._connection.send(b"%x\r\n%b\r\n" % (len(data), data))
        return len(data)

    def finish(self) -> None:
        self._connection.send(b"0\r\n\r\n")


class DaemonDestination(DockerArchiveDestination):
    """Loads the image into the daemon, which must have a name for it."""

    def __init__(self, location: Location, host: str, temporary: str | None = None) -> None:
        if location.reference is None or location.reference.digest:
            raise InvalidArgument(f"{location}: a name and a tag are needed to write to a daemon")
        super().__init__(location, temporary=temporary)
        self._host = host

    def commit(self) -> None:
        connection = _connect(self._host)
        try:
            connection.putrequest("POST", "/images/load?quiet=1")
            connection.putheader("Content-Type", "application/x-tar")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            body = _ChunkedBody(connection)
            self.write_to(body)
            body.finish()
            answer = connection.getresponse()
            self._check(answer.status, answer.read(_ANSWER_BYTES_MAX))
        except (OSError, http.client.HTTPException) as error:
            raise _failure(self._host, error) from error
        finally:
            connection.close()

    def _check(self, status: int, body: bytes) -> None:
        if status != 200:
            raise _refusal(self.name, status, body)
        for line in body.splitlines():
            try:
                said = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(said, dict) and "error" in said:
                raise FailedPrecondition(f"{self.name}: {said['error']}")

    def describe_manifest(self, digest: str, *, top: bool) -> str:  # noqa: ARG002
        return f"POST /images/load to the daemon, named {', '.join(self._tags)}"
