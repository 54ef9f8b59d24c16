"""Peers for the registry client: our server, Debian's server, and one that misbehaves on order."""

import contextlib
import datetime as dt
import fcntl
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from rundlet.registry.client import Clock, RegistryClient, RegistrySettings
from rundlet.registry.server import RegistryServer
from tests.registry.debian import debian_registries

SIOCOUTQ = 0x5411  # tcp(7): the bytes that the peer has not acknowledged


class Answer(NamedTuple):
    """What the misbehaving peer says once; `cut` resets the connection after that many bytes of body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}
    cut: int | None = None
    ranged: bool = False


class Seen(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_args):
        pass

    def answer(self):
        peer = self.server.peer
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {key.title(): value for key, value in self.headers.items()}
        peer.seen.append(Seen(self.command, self.path, headers, body))
        answer = peer.next_answer(self.command, self.path)
        if answer.cut == 0:
            self.reset()
            return
        status, content, extra = answer.status, answer.body, {}
        if answer.ranged and "Range" in headers:
            start = int(headers["Range"].removeprefix("bytes=").split("-")[0])
            extra = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            status, content = 206, content[start:]
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **extra, **answer.headers}.items():
            if value:
                self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: answer.cut])
        if answer.cut is not None:
            self.reset()
        elif answer.headers.get("Content-Length") == "":
            self.close_connection = True

    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def do_PUT(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_PATCH(self):
        self.answer()

    def reset(self):
        self.wfile.flush()
        # Linger 0: close sends a reset, and what the peer has not read yet is lost.
        # Wait until the kernel's send queue is empty so that the body arrives first.
        while struct.unpack("i", fcntl.ioctl(self.connection, SIOCOUTQ, bytes(4)))[0]:
            time.sleep(0.001)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_args):
        pass


class Peer:
    """An HTTP server that gives each path's answers in turn, the last one for ever."""

    def __init__(self, context=None, host="127.0.0.1"):
        self.seen = []
        self._script = {}
        self._lock = threading.Lock()
        self._server = _Server((host, 0), _Handler)
        self._server.peer = self
        if context:
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.say("GET /v2/", Answer(200))

    @property
    def port(self):
        return self._server.server_address[1]

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def say(self, call, *answers):
        """`call` is "GET /path", the query left out."""
        self._script[call] = list(answers)

    def next_answer(self, method, path):
        with self._lock:
            answers = self._script.get(f"{method} {path.partition('?')[0]}", [Answer(404)])
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def asked(self, path):
        """The requests for exactly `path`, without their query."""
        return [seen for seen in self.seen if seen.path.partition("?")[0] == path]

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class VirtualTime:
    """A clock that only sleeping moves; `slept` lists the waits in seconds."""

    def __init__(self):
        self.now_s = 1000.0
        self.slept = []

    def sleep(self, delay_s, _cancel):
        self.slept.append(delay_s)
        self.now_s += delay_s

    @property
    def clock(self):
        return Clock(
            now_ns=lambda: int(self.now_s * 1e9),
            wall_s=lambda: self.now_s,
            sleep=self.sleep,
            jitter=lambda: 1.0,
        )


class Certificates(NamedTuple):
    """A CA and a certificate of it for localhost and 127.0.0.1."""

    ca: str
    certificate: str
    key: str

    def server_context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def openssl(*words, cwd):
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("openssl not on this host")
    directory = tmp_path_factory.mktemp("certificates")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(
        "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test CA", cwd=directory
    )
    openssl("req", *key, "-keyout", "peer.key", "-out", "peer.csr", "-subj", "/CN=localhost", cwd=directory)
    (directory / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
    openssl("x509", "-req", "-in", "peer.csr", *signing, "-out", "peer.crt", cwd=directory)
    return Certificates(*(str(directory / name) for name in ("ca.crt", "peer.crt", "peer.key")))


@pytest.fixture
def answer():
    return Answer


@pytest.fixture
def make_peer():
    with contextlib.ExitStack() as stack:

        def make(**options):
            peer = Peer(**options)
            stack.callback(peer.close)
            return peer

        yield make


@pytest.fixture
def peer(make_peer):
    return make_peer()


@pytest.fixture
def virtual_time():
    return VirtualTime()


@pytest.fixture
def make_client(virtual_time, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with contextlib.ExitStack() as stack:

        def make(**settings):
            settings.setdefault("certs_dirs", (str(tmp_path / "certs.d"),))
            client = RegistryClient(RegistrySettings(**settings), clock=virtual_time.clock)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def client(make_client):
    return make_client()


@pytest.fixture
def server(tmp_path):
    server = RegistryServer(str(tmp_path / "registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def http_date(virtual_time):
    """The Retry-After form of a time that many seconds from now."""

    def make(delay_s):
        at = dt.datetime.fromtimestamp(virtual_time.now_s + delay_s, dt.UTC)
        return at.strftime("%a, %d %b %Y %H:%M:%S GMT")

    return make


@pytest.fixture
def make_debian_registry(tmp_path):
    """Starts Debian's docker-registry; returns its address."""
    with debian_registries(tmp_path) as make:
        yield make
