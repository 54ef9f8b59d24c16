"""A small registry over a directory: pull and push of the distribution API.

    GET /v2/                                    we are a registry
    GET|HEAD|PUT /v2/<name>/manifests/<tag or digest>
    GET|HEAD /v2/<name>/blobs/<digest>          with Range
    POST /v2/<name>/blobs/uploads/              ?digest= (whole body), ?mount=&from=
    GET|PATCH|PUT|DELETE /v2/<name>/blobs/uploads/<id>
    DELETE /v2/<name>/manifests/<tag or digest>     DELETE /v2/<name>/blobs/<digest>
    GET /v2/<name>/tags/list                    ?n=&last=
    GET /v2/<name>/referrers/<digest>           ?artifactType=

It has no accounts: it serves loopback, the walk and tests.
"""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode

from rundlet.errors import DataLoss, Error, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from rundlet.registry.framing import body_length, has_body, parse_range, read_chunked, read_exactly, require
from rundlet.registry.shelf import Shelf, read_stored
from rundlet.spec import json
from rundlet.spec.digest import parse_digest
from rundlet.spec.manifest import Index, describe_referrer, find_subject
from rundlet.spec.mediatype import OCI_INDEX
from rundlet.spec.reference import parse_reference

_MANIFEST_SIZE_MAX = 4 << 20


_ROUTE = re.compile(
    r"/v2/(?P<name>[a-z0-9._/-]+)/"
    r"(?:manifests/(?P<reference>[A-Za-z0-9_.:-]+)"
    r"|blobs/(?P<digest>[a-z0-9]+:[a-f0-9]+)"
    r"|blobs/uploads/(?P<upload>[a-f0-9]{32})?"
    r"|referrers/(?P<subject>[a-z0-9]+:[a-f0-9]+)"
    r"|(?P<tags>tags/list))"
)
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,18})-(\d{1,18})(?:/.*)?")

# Error class → HTTP status and the specification's code.
_STATUS: dict[type[Error], tuple[int, str]] = {
    InvalidArgument: (400, "NAME_INVALID"),
    DataLoss: (400, "DIGEST_INVALID"),
    FailedPrecondition: (416, "BLOB_UPLOAD_INVALID"),
    ResourceExhausted: (413, "SIZE_INVALID"),
}


class Call(NamedTuple):
    """One request, taken apart; what its path does not have is ""."""

    name: str
    reference: str
    digest: str
    upload: str
    subject: str
    tags: str
    query: dict[str, str]


class RegistryServer:
    """A registry on `host`:`port` (0: any free port) over the files of `root_dir`."""

    def __init__(self, root_dir: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = _Server((host, port), Shelf(root_dir))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        """ "127.0.0.1:40123", as it stands in references."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the listener and every connection; answers under way are cut off."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.close_connections()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], shelf: Shelf) -> None:
        super().__init__(address, _Handler)
        self.shelf = shelf
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, peer

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the peer was first

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that went away is no news, and a server for tests writes no traces."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Header and body are two writes: with Nagle's algorithm the second waits
    # 40 ms for the peer's delayed acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """No access log."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PATCH(self) -> None:
        self._answer(self._patch)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, act: Callable[[Call], None]) -> None:
        self._body_read = not has_body(self.headers)
        try:
            path, _, query = self.path.partition("?")
            if path in ("/v2/", "/v2"):
                self._send_json(200, {})
                return
            act(_parse_call(path, query))
        except Error as error:
            status, code = _STATUS.get(type(error), (404, _unknown_code(self.path)))
            self._send_json(status, {"errors": [{"code": code, "message": error.message}]})
        except OSError as error:
            self.close_connection = True
            if not isinstance(error, ConnectionError):
                self._send_json(
                    500, {"errors": [{"code": "UNKNOWN", "message": os.strerror(error.errno or 0)}]}
                )

    def _get(self, call: Call) -> None:
        if call.reference:
            self._send_manifest(call)
        elif call.digest:
            path = self.server.shelf.find_blob(call.name, parse_digest(call.digest))
            self._send_file(path, {"Docker-Content-Digest": call.digest})
        elif call.tags:
            self._send_tags(call)
        elif call.subject:
            self._send_referrers(call)
        else:
            self._send_upload_state(204, call)

    def _put(self, call: Call) -> None:
        if call.reference:
            self._put_manifest(call)
            return
        path = self.server.shelf.find_upload(call.upload)
        self._append(path)
        self._finish_upload(call, call.upload)

    def _post(self, call: Call) -> None:
        require(not (call.upload or call.reference or call.digest or call.tags), "POST begins an upload")
        if "mount" in call.query and "from" in call.query and self._mount(call):
            return
        upload_id = self.server.shelf.begin_upload()
        if "digest" in call.query:
            self._append(self.server.shelf.find_upload(upload_id))
            self._finish_upload(call, upload_id)
        else:
            self._send_upload_state(202, call._replace(upload=upload_id))

    def _mount(self, call: Call) -> bool:
        """Take a blob over from another repository; False when it has none: an upload begins instead."""
        digest = parse_digest(call.query["mount"])
        try:
            self.server.shelf.find_blob(call.query["from"], digest)
        except NotFound:
            return False
        self.server.shelf.link_blob(call.name, digest)
        self._send_created(f"/v2/{call.name}/blobs/{digest}", str(digest))
        return True

    def _patch(self, call: Call) -> None:
        path = self.server.shelf.find_upload(call.upload)
        found = _CONTENT_RANGE.fullmatch(self.headers.get("Content-Range", ""))
        if found and int(found[1]) != os.path.getsize(path):
            raise FailedPrecondition(f"upload {call.upload}: the chunk is out of order")
        self._append(path)
        self._send_upload_state(202, call)

    def _delete(self, call: Call) -> None:
        if call.upload:
            self.server.shelf.cancel_upload(call.upload)
            self._send_head(204, {"Content-Length": "0"})
            return
        require(call.reference or call.digest, "nothing to delete")
        if call.reference:
            self.server.shelf.delete_manifest(call.name, call.reference)
        else:
            self.server.shelf.delete_blob(call.name, parse_digest(call.digest))
        self._send_head(202, {"Content-Length": "0"})

    def _finish_upload(self, call: Call, upload_id: str) -> None:
        digest = parse_digest(call.query.get("digest", ""))
        self.server.shelf.finish_upload(call.name, upload_id, digest)
        self._send_created(f"/v2/{call.name}/blobs/{digest}", str(digest))

    def _put_manifest(self, call: Call) -> None:
        raw = b"".join(self._read_body(_MANIFEST_SIZE_MAX))
        media_type = self.headers.get("Content-Type", "")
        require(media_type.isprintable(), "malformed Content-Type")
        json.decode(raw, dict, f"manifest of {call.name}")
        digest = self.server.shelf.put_manifest(call.name, call.reference, raw, media_type)
        subject = find_subject(raw)
        if subject:
            self.server.shelf.note_referrer(call.name, parse_digest(subject), digest)
        noted = {"OCI-Subject": subject} if subject else {}
        self._send_created(f"/v2/{call.name}/manifests/{digest}", str(digest), noted)

    def _send_manifest(self, call: Call) -> None:
        stored = self.server.shelf.find_manifest(call.name, call.reference)
        headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": str(stored.digest)}
        self._send_file(stored.path, headers)

    def _send_tags(self, call: Call) -> None:
        tags = [tag for tag in self.server.shelf.list_tags(call.name) if tag > call.query.get("last", "")]
        count = call.query.get("n", "")
        require(not count or (count.isascii() and count.isdigit()), "n is a number")
        page = tags[: int(count)] if count else tags
        headers = {}
        if page and len(page) < len(tags):
            following = urlencode({"n": count, "last": page[-1]})
            headers["Link"] = f'</v2/{call.name}/tags/list?{following}>; rel="next"'
        self._send_json(200, {"name": call.name, "tags": page}, headers)

    def _send_upload_state(self, status: int, call: Call) -> None:
        size = os.path.getsize(self.server.shelf.find_upload(call.upload))
        headers = {
            "Location": f"/v2/{call.name}/blobs/uploads/{call.upload}",
            "Docker-Upload-UUID": call.upload,
            "Range": f"0-{max(size - 1, 0)}",
            "Content-Length": "0",
        }
        self._send_head(status, headers)

    def _send_referrers(self, call: Call) -> None:
        stored = self.server.shelf.list_referrers(call.name, parse_digest(call.subject))
        found = [describe_referrer(read_stored(each), each.media_type, each.digest) for each in stored]
        wanted, filtered = call.query.get("artifactType", ""), {}
        if wanted:
            found = [each for each in found if each.artifact_type == wanted]
            filtered = {"OCI-Filters-Applied": "artifactType"}
        index = Index(2, tuple(found), media_type=OCI_INDEX)
        self._send_json(200, index, {"Content-Type": OCI_INDEX, **filtered})

    def _send_created(self, location: str, digest: str, more: dict[str, str] | None = None) -> None:
        headers = {"Location": location, "Docker-Content-Digest": digest, "Content-Length": "0"}
        self._send_head(201, {**headers, **(more or {})})

    def _send_json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.encode(value)
        common = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        self._send_head(status, {**common, **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_file(self, path: str, headers: dict[str, str]) -> None:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start, end = parse_range(self.headers.get("Range", ""), size)
            whole = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
            whole["Content-Length"] = str(end - start)
            if (start, end) == (0, size):
                self._send_head(200, whole)
            else:
                self._send_head(206, {**whole, "Content-Range": f"bytes {start}-{end - 1}/{size}"})
            if self.command != "HEAD" and end > start:
                self.connection.sendfile(file, start, end - start)

    def _send_head(self, status: int, headers: dict[str, str]) -> None:
        if not self._body_read:
            # The rest of an unread body would be taken for the next request.
            self.close_connection = True
            headers = {**headers, "Connection": "close"}
        self.send_response(status)
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _append(self, path: str) -> None:
        with open(path, "ab") as file:
            file.writelines(self._read_body(None))

    def _read_body(self, size_max: int | None) -> Iterator[bytes]:
        """The request's body in blocks, chunked or by its length; ResourceExhausted above `size_max`."""
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        blocks = read_chunked(self.rfile) if chunked else read_exactly(self.rfile, body_length(self.headers))
        total = 0
        for block in blocks:
            total += len(block)
            if size_max is not None and total > size_max:
                raise ResourceExhausted(f"longer than {size_max} bytes")
            yield block
        self._body_read = True


def _parse_call(path: str, query: str) -> Call:
    found = _ROUTE.fullmatch(path)
    if found is None:
        raise NotFound("no such endpoint")
    parts = {key: value or "" for key, value in found.groupdict().items()}
    # The grammar of references keeps "..", "//" and leading dots out of paths.
    target = parse_reference(f"localhost/{parts['name']}")
    reference = parts["reference"]
    if ":" in reference:
        parse_digest(reference)
    elif reference:
        target.with_tag(reference)
    values = {key: items[-1] for key, items in parse_qs(query).items()}
    if "from" in values:
        parse_reference(f"localhost/{values['from']}")
    return Call(**parts, query=values)


def _unknown_code(path: str) -> str:
    """Which of the specification's *_UNKNOWN codes fits a path."""
    if "/manifests/" in path:
        return "MANIFEST_UNKNOWN"
    if "/blobs/uploads/" in path:
        return "BLOB_UPLOAD_UNKNOWN"
    return "BLOB_UNKNOWN" if "/blobs/" in path else "NAME_UNKNOWN"
