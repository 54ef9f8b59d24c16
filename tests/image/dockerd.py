"""What a Docker daemon's HTTP API has for copies of images, on a Unix socket: load, and get by name.

POST /images/load          a docker-archive, chunked   ─▶ a line of JSON
GET  /images/<name>/get    ─▶ the archive that was loaded with this name
"""

import io
import json
import socketserver
import tarfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote

from rundlet.registry.framing import read_chunked


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *_args):
        pass

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        name = unquote(self.path.removeprefix("/images/").removesuffix("/get"))
        archive = self.server.images.get(name)
        if archive is None:
            self._answer(404, json.dumps({"message": f"No such image: {name}"}).encode())
        else:
            self._answer(200, archive)

    def do_POST(self):
        archive = b"".join(read_chunked(self.rfile))
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for item in json.load(opened.extractfile("manifest.json")):
                assert all(opened.getmember(each).size for each in item["Layers"])
                for name in item["RepoTags"]:
                    self.server.images[name] = archive
        self._answer(200, b'{"stream": "Loaded"}\n')


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def daemon_at(path):
    """A daemon at the socket `path`; gives what DOCKER_HOST would be."""
    with _Server(str(path), _Handler) as server:
        server.images = {}
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()
