"""The streaming server with real sockets and real processes, but no containers."""

import os
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from rundlet.cri import stream_command, stream_server
from rundlet.cri.stream_client import StreamTls, open_command, open_forward
from rundlet.cri.stream_server import StreamServer, StreamSettings
from rundlet.cri.stream_tokens import ExecOrder, ForwardOrder
from rundlet.engine.streams import Dial, ExecStreams
from rundlet.errors import InvalidArgument, Unavailable
from rundlet.streaming import spdy
from rundlet.streaming.channels import Channel, Outcome
from rundlet.streaming.command import Finished, Output, Ready, Wanted
from rundlet.streaming.portforward import ForwardData, ForwardEnded, ForwardReset

TRANSPORTS = pytest.mark.parametrize("transport", ["spdy", "websocket"])
ALL = Wanted(stdin=True, stdout=True, stderr=True)


class Handle:
    """A process of this machine in the place of a container's."""

    terminal_fd = -1

    def __init__(self, process):
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self.exec_id = str(process.pid)

    def fileno(self):
        return self._pidfd

    def wait(self, timeout_s):
        return SimpleNamespace(exit_code=self._process.wait(timeout_s))

    def close(self):
        os.close(self._pidfd)


class Machine:
    """What the server needs of an engine: processes and connections, here without namespaces."""

    def __init__(self):
        self.containers = self.pods = self
        self.started = []

    def exec_stream(self, _container_id, argv, **_wanted):
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = (os.pipe() for _ in range(3))
        process = subprocess.Popen(argv, stdin=in_read, stdout=out_write, stderr=err_write)
        self.started.append(process)
        for fd in (in_read, out_write, err_write):
            os.close(fd)
        return ExecStreams(Handle(process), in_write, {out_read: 1, err_read: 2})

    def port_forward(self, pod_id, port):
        return Dial(lambda family: socket.socket(family, socket.SOCK_STREAM), pod_id, port)


@pytest.fixture
def machine():
    machine = Machine()
    yield machine
    for process in machine.started:
        process.kill()
        process.wait()


@contextmanager
def serving(machine, **settings):
    server = StreamServer(machine, StreamSettings(**settings))
    server.start()
    try:
        yield server
    finally:
        server.stop()
        assert not server._sessions


@pytest.fixture
def server(machine):
    with serving(machine) as server:
        yield server


def exec_url(server, *argv, wanted=ALL):
    return server.url(ExecOrder("c", argv, wanted))


class User:
    """A client that does what a test says, blocking."""

    def __init__(self, stream):
        self.sock, self.client = stream.sock, stream.client
        self.sock.limit(20)
        self.events = self.client.receive(stream.rest)

    def flush(self):
        self.sock._sock.sendall(
            self.client.take_output() if self.is_forward else self.client.lanes.take_output()
        )

    @property
    def is_forward(self):
        return not hasattr(self.client, "lanes")

    def wait_ready(self):
        while Ready() not in self.events:
            assert self.hear(), self.events

    def hear(self):
        """More events; False when the server has hung up."""
        self.flush()
        data = self.sock.receive()
        self.events += self.client.receive(data) if data else []
        return bool(data)

    def finish(self):
        """Everything up to the outcome: (stdout, stderr, outcome)."""
        while not any(isinstance(event, Finished) for event in self.events):
            assert self.hear(), self.events
            self._consume()
        text = {Channel.STDOUT: b"", Channel.STDERR: b""}
        for event in self.events:
            if isinstance(event, Output):
                text[event.channel] += event.data
        self.sock.close()
        return *text.values(), self.events[-1].outcome

    def _consume(self):
        for event in self.events:
            if isinstance(event, Output):
                self.client.lanes.consume(event.channel, len(event.data))


def open_exec(server, transport, *argv):
    return User(open_command(lambda: exec_url(server, *argv), ALL, transport, StreamTls()))


@TRANSPORTS
def test_a_process_from_beginning_to_end(server, transport):
    user = open_exec(server, transport, "sh", "-c", "cat; echo err >&2; exit 3")
    user.wait_ready()
    user.client.lanes.send(Channel.STDIN, b"typed")
    user.client.lanes.end(Channel.STDIN)
    assert user.finish() == (b"typed", b"err\n", Outcome(3))


def test_the_client_takes_spdy_when_websocket_is_refused(server, monkeypatch):
    from rundlet.cri import stream_routes

    monkeypatch.setitem(stream_routes._COMMAND_PROTOCOLS, "websocket", ("channel.k8s.io",))
    assert open_exec(server, "", "true").finish() == (b"", b"", Outcome(0))


# -- who may not come in ------------------------------------------------------------------------


def ask(server, request):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b"")).split(b"\r\n")[0]


def upgrade(path, **headers):
    fields = {"Host": "x", "Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    fields |= {"X-Stream-Protocol-Version": "v4.channel.k8s.io"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (upgrade("/"), 404),
        (upgrade("/exec"), 404),
        (upgrade("/exec/unknown"), 404),
        (upgrade("/metrics/unknown"), 404),
        (upgrade("/exec/x", Upgrade=""), 400),
        (upgrade("/exec/x", Upgrade="h2c"), 400),
        (upgrade("/exec/x", X_Stream_Protocol_Version=""), 400),
        (upgrade("/exec/x", X_Stream_Protocol_Version="v9"), 403),
        (b"DELETE /exec/x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000, 400),
    ],
)
def test_requests_that_are_refused(server, request_bytes, status):
    assert ask(server, request_bytes).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "query", ["", "?port=0", "?port=80,x", "?port=65536", "?port=" + ",".join(["80"] * 33)]
)
def test_websocket_channels_need_ports(server, query):
    path = "/" + server.url(ForwardOrder("p", ())).split("/", 3)[3] + query
    fields = {
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Protocol": "v4.channel.k8s.io",
    }
    assert b" 400 " in ask(server, upgrade(path, **fields, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=="))


def test_websocket_channels_of_older_clients(server, echo_port):
    from rundlet.streaming.websocket import MessageConnection

    path = "/" + server.url(ForwardOrder("p", ())).split("/", 3)[3] + f"?port={echo_port}"
    fields = {
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Protocol": "v4.channel.k8s.io",
    }
    request = upgrade(path, **fields, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(request)
        raw = b""
        while b"\r\n\r\n" not in raw:
            raw += sock.recv(65536)
        messages = MessageConnection(is_client=True)
        heard = messages.receive(raw.partition(b"\r\n\r\n")[2])
        messages.send(b"\0hello")
        sock.sendall(messages.take_output())
        port = echo_port.to_bytes(2, "little")
        while len(heard) < 3:
            heard += messages.receive(sock.recv(65536))
        assert heard == [b"\0" + port, b"\1" + port, b"\0hello"]


def test_a_token_lets_one_client_in(server):
    url = exec_url(server, "true")
    assert User(open_command(lambda: url, ALL, "spdy", StreamTls())).finish()[2] == Outcome(0)
    with pytest.raises(Unavailable, match="no such token"):
        open_command(lambda: url, ALL, "spdy", StreamTls())


def test_a_token_is_for_its_own_path(server):
    url = exec_url(server, "true").replace("/exec/", "/portforward/")
    with pytest.raises(Unavailable, match="no such token"):
        open_forward(lambda: url, "spdy", StreamTls())


def test_a_token_is_not_used_up_by_a_request_that_cannot_use_it(server):
    url = exec_url(server, "true")
    path = "/" + url.split("/", 3)[3]
    assert b" 403 " in ask(server, upgrade(path, X_Stream_Protocol_Version="v9"))
    assert User(open_command(lambda: url, ALL, "spdy", StreamTls())).finish()[2] == Outcome(0)


def test_a_client_that_says_nothing_is_hung_up_on(machine, monkeypatch):
    monkeypatch.setattr(stream_server, "HANDSHAKE_TIMEOUT_S", 0.2)
    with serving(machine) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.settimeout(10)
        assert sock.recv(1) == b""


def test_a_client_that_opens_no_streams_is_hung_up_on(machine, monkeypatch):
    monkeypatch.setattr(stream_command, "STREAMS_TIMEOUT_S", 0.2)
    with serving(machine) as server:
        user = User(open_command(lambda: exec_url(server, "true"), Wanted(stdout=True), "spdy", StreamTls()))
        while user.hear():
            pass
    assert not machine.started


def test_an_idle_session_is_ended(machine):
    with serving(machine, idle_timeout_s=0.3) as server:
        user = open_exec(server, "spdy", "sleep", "1000")
        while user.hear():
            pass


def test_more_sessions_than_allowed_are_turned_away(machine, monkeypatch):
    monkeypatch.setattr(stream_server, "SESSIONS_MAX", 1)
    with serving(machine) as server:
        user = open_exec(server, "spdy", "sleep", "1000")
        user.wait_ready()
        with pytest.raises(Unavailable):
            open_exec(server, "spdy", "true")
        user.sock.close()


def test_stopping_hangs_up_on_everybody(machine):
    with serving(machine) as server:
        user = open_exec(server, "websocket", "sleep", "1000")
        user.wait_ready()
    while user.hear():
        pass


def test_an_address_that_cannot_be_had(server):
    with pytest.raises(Unavailable, match="cannot listen"):
        StreamServer(None, StreamSettings(port=server.port))


def test_a_wildcard_address_sends_clients_to_the_loopback(machine):
    with serving(machine, address="0.0.0.0") as server:
        assert exec_url(server, "true").startswith(f"http://127.0.0.1:{server.port}/exec/")


# -- back pressure ------------------------------------------------------------------------------


def written_bytes(process):
    with open(f"/proc/{process.pid}/io") as file:
        return int(dict(line.split(": ") for line in file)["wchar"])


def await_standstill(read_value):
    """The value once it has stopped changing."""
    value = read_value()
    while True:
        time.sleep(0.3)
        previous, value = value, read_value()
        if value == previous and value:
            return value


@TRANSPORTS
def test_a_client_that_does_not_read_makes_the_process_wait(server, machine, transport):
    user = open_exec(server, transport, "cat", "/dev/zero")
    user.wait_ready()
    written = await_standstill(lambda: written_bytes(machine.started[0]))
    assert written < 16 << 20  # the sockets' buffers, which grow to some MiB, and ours
    user.sock.close()
    assert machine.started[0].wait(10) != 0  # SIGPIPE: the client has gone


@TRANSPORTS
def test_a_process_that_does_not_read_makes_the_client_wait(server, transport):
    user = open_exec(server, transport, "sleep", "1000")
    user.wait_ready()
    user.sock.limit(0.5)
    sent = [0]

    def send_for_ever():
        while True:
            user.client.lanes.send(Channel.STDIN, b"x" * 32768)
            user.flush()
            sent[0] += 32768

    with pytest.raises(TimeoutError):
        send_for_ever()
    assert sent[0] < 32 << 20
    user.sock.close()


def test_a_window_that_is_used_up_holds_back_one_stream_only(server):
    user = open_exec(server, "spdy", "sh", "-c", "head -c 1000000 /dev/zero; echo done >&2; sleep 1000")
    while sum(len(event.data) for event in user.events if isinstance(event, Output)) < spdy.WINDOW_BYTES:
        assert user.hear()
    seen = [event for event in user.events if isinstance(event, Output)]
    assert {event.channel for event in seen} == {Channel.STDOUT}
    while Output(Channel.STDERR, b"done\n") not in user.events:
        user._consume()
        assert user.hear()
    user.sock.close()


def test_hundreds_of_idle_sessions_cost_no_time(server):
    users = [open_exec(server, "spdy", "sleep", "1000") for _ in range(100)]
    for user in users:
        user.wait_ready()
    before_s = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before_s < 0.1
    for user in users:
        user.sock.close()


# -- port-forward ----------------------------------------------------------------------------------


@pytest.fixture
def echo_port():
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            with sock:
                while data := sock.recv(65536):
                    sock.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    thread.join()
    server.close()


def open_port(server, transport):
    return User(open_forward(lambda: server.url(ForwardOrder("p", ())), transport, StreamTls()))


@TRANSPORTS
def test_a_connection_into_the_pod(server, transport, echo_port):
    user = open_port(server, transport)
    key = user.client.open(echo_port)
    user.client.send(key, b"hello")
    user.client.end(key)
    while ForwardEnded(key) not in user.events:
        assert user.hear()
    assert b"".join(event.data for event in user.events if isinstance(event, ForwardData)) == b"hello"
    user.sock.close()


def test_a_refused_connection_leaves_the_others(server, echo_port):
    user = open_port(server, "spdy")
    good, bad = user.client.open(echo_port), user.client.open(1)
    while not any(isinstance(event, ForwardReset) for event in user.events):
        assert user.hear()
    [reset] = [event for event in user.events if isinstance(event, ForwardReset)]
    assert (reset.key, "refused" in reset.message) == (bad, True)
    user.client.send(good, b"still")
    while ForwardData(good, b"still") not in user.events:
        assert user.hear()
    user.sock.close()


# -- TLS -----------------------------------------------------------------------------------------------


def make_certificate(directory, name):
    cert, key = directory / "cert.pem", directory / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2"]
    try:
        subprocess.run([*argv, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not on this host")
    return str(cert), str(key)


@TRANSPORTS
def test_tls_with_a_certificate_that_is_replaced(machine, tmp_path, transport):
    cert, key = make_certificate(tmp_path, "localhost")
    with serving(machine, tls_cert=cert, tls_key=key) as server:
        assert exec_url(server, "true").startswith("https://")

        def run(tls):
            argv = ("sh", "-c", "head -c 300000 /dev/zero")
            return User(open_command(lambda: exec_url(server, *argv), ALL, transport, tls)).finish()

        assert len(run(StreamTls(ca=cert))[0]) == 300_000
        make_certificate(tmp_path, "other")
        with pytest.raises(Unavailable):
            run(StreamTls(ca=cert))
        assert run(StreamTls(ca=cert, server_name="other"))[2] == Outcome(0)
        (tmp_path / "key.pem").write_text("half a k")
        assert run(StreamTls())[2] == Outcome(0)  # the pair that was whole goes on


def test_a_plain_client_of_a_tls_server(machine, tmp_path):
    cert, key = make_certificate(tmp_path, "localhost")
    with serving(machine, tls_cert=cert, tls_key=key) as server:
        url = exec_url(server, "true").replace("https:", "http:")
        with pytest.raises((Unavailable, InvalidArgument)):
            open_command(lambda: url, ALL, "spdy", StreamTls())


@pytest.mark.parametrize(
    ("cert", "key"), [("/nonexistent", "/nonexistent"), ("/etc/passwd", "/etc/passwd"), ("x", "")]
)
def test_tls_files_that_cannot_be_used(cert, key):
    with pytest.raises(InvalidArgument, match="streaming TLS"):
        StreamServer(None, StreamSettings(tls_cert=cert, tls_key=key))


def test_tls_refuses_old_versions(machine, tmp_path):
    cert, key = make_certificate(tmp_path, "localhost")
    with serving(machine, tls_cert=cert, tls_key=key) as server:
        assert server._tls.get().minimum_version >= ssl.TLSVersion.TLSv1_2
