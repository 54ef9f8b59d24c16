"""Connections: TLS and its CAs, plain HTTP only where allowed, proxies, failures in one line."""

import contextlib
import shutil
import socket
import threading

import pytest

from rundlet.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    Unavailable,
)
from rundlet.registry.client import RegistrySettings
from rundlet.registry.message import Request, StreamBody
from rundlet.registry.retry import Clock, Limits
from rundlet.registry.transport import Transport
from rundlet.spec.reference import parse_reference

MANIFEST = b'{"schemaVersion": 2}'


@pytest.fixture
def tls_peer(make_peer, certificates, answer):
    peer = make_peer(context=certificates.server_context())
    peer.say("GET /v2/a/manifests/t", answer(200, MANIFEST))
    return peer


def ref_of(authority):
    return parse_reference(f"{authority}/a:t")


def closed_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def test_an_unknown_ca_is_refused_with_a_hint(client, tls_peer):
    with pytest.raises(
        Unavailable, match=f"registry {tls_peer.address}: its certificate does not verify"
    ) as caught:
        client.resolve(ref_of(tls_peer.address))
    assert "SSL_CERT_FILE" in caught.value.hint


def test_a_ca_from_ssl_cert_file(client, tls_peer, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    assert client.resolve(ref_of(tls_peer.address)).raw == MANIFEST


def test_a_ca_from_certs_d(client, tls_peer, certificates, tmp_path):
    directory = tmp_path / "certs.d" / tls_peer.address
    directory.mkdir(parents=True)
    shutil.copy(certificates.ca, directory / "ca.crt")
    assert client.resolve(ref_of(tls_peer.address)).raw == MANIFEST


def test_a_certificate_of_ours_from_certs_d(client, make_peer, certificates, tmp_path, answer):
    context = certificates.server_context()
    context.verify_mode = 2  # ssl.CERT_REQUIRED
    context.load_verify_locations(certificates.ca)
    peer = make_peer(context=context)
    peer.say("GET /v2/a/manifests/t", answer(200, MANIFEST))
    directory = tmp_path / "certs.d" / peer.address
    directory.mkdir(parents=True)
    shutil.copy(certificates.ca, directory / "ca.crt")
    with pytest.raises(Unavailable):
        client.resolve(ref_of(peer.address))
    client.close()
    shutil.copy(certificates.certificate, directory / "me.cert")
    shutil.copy(certificates.key, directory / "me.key")
    assert client.resolve(ref_of(peer.address)).raw == MANIFEST


def test_a_broken_certificate_file_is_named(client, tls_peer, tmp_path):
    directory = tmp_path / "certs.d" / tls_peer.address
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_text("nonsense")
    with pytest.raises(FailedPrecondition, match=r"ca\.crt"):
        client.resolve(ref_of(tls_peer.address))


def test_a_name_that_the_certificate_lacks_is_refused(client, make_peer, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
    peer = make_peer(context=certificates.server_context(), host="127.0.0.2")
    with pytest.raises(Unavailable, match="does not verify"):
        client.resolve(ref_of(f"127.0.0.2:{peer.port}"))


def test_an_insecure_host_needs_no_ca(make_client, tls_peer):
    assert make_client(insecure_hosts=(tls_peer.address,)).resolve(ref_of(tls_peer.address)).raw == MANIFEST


def test_plain_http_beyond_loopback_only_for_listed_hosts(client, make_client, peer, answer):
    # 0.0.0.0 is not loopback by name, yet Linux connects it to this machine.
    peer.say("GET /v2/a/manifests/t", answer(200, MANIFEST))
    authority = f"0.0.0.0:{peer.port}"
    with pytest.raises(Unavailable, match=f"registry {authority}: it does not speak TLS") as caught:
        client.resolve(ref_of(authority))
    assert "insecure" in caught.value.hint
    assert peer.seen == []
    for listed in (authority, "0.0.0.0"):
        assert make_client(insecure_hosts=(listed,)).resolve(ref_of(authority)).raw == MANIFEST


def test_a_refused_connection_names_host_and_reason(client):
    authority = f"127.0.0.1:{closed_port()}"
    with pytest.raises(Unavailable, match=f"^registry {authority}: cannot connect: connection refused$"):
        client.resolve(ref_of(authority))


def test_an_unknown_name_names_host_and_reason(client):
    with pytest.raises(
        Unavailable, match=r"^registry nowhere\.invalid: cannot connect: host name not found"
    ) as caught:
        client.resolve(ref_of("nowhere.invalid"))
    assert caught.value.hint


def test_a_name_that_no_resolver_takes(client):
    with pytest.raises(Unavailable, match="malformed address"):
        client.resolve(ref_of(f"{'a' * 70}.test"))


@pytest.mark.kernel
def test_no_route_names_host_and_reason(client):
    # A throw-away node's network ends at loopback.
    with pytest.raises(
        Unavailable, match=r"^registry 203\.0\.113\.9: cannot connect: network is unreachable$"
    ):
        client.resolve(ref_of("203.0.113.9"))


def test_the_deadline_bounds_the_wait_for_an_answer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        transport = Transport(RegistrySettings(certs_dirs=(str(tmp_path),)))
        clock = Clock()
        limits = Limits(clock, clock.now_ns() + 50_000_000)
        with pytest.raises(DeadlineExceeded):
            transport.find_origin(f"127.0.0.1:{silent.getsockname()[1]}", limits)


def test_docker_hub_is_asked_where_it_really_is(tmp_path):
    transport = Transport(RegistrySettings(certs_dirs=(str(tmp_path),)))
    assert transport.find_origin("docker.io", Limits(Clock())) == "https://registry-1.docker.io"


def test_a_proxy_is_asked_to_connect(make_client, peer, answer, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass%40word@{peer.address}")
    client = make_client(retries=0)
    with pytest.raises(Unavailable, match="registry quay.io: cannot connect through the proxy"):
        client.resolve(ref_of("quay.io"))


def test_a_proxy_carries_plain_http(make_client, peer, answer, monkeypatch):
    monkeypatch.setenv("http_proxy", peer.address)
    peer.say("GET http://plain.test/v2/", answer(200))
    peer.say("GET http://plain.test/v2/a/manifests/t", answer(200, MANIFEST))
    assert make_client(insecure_hosts=("plain.test",)).resolve(ref_of("plain.test")).raw == MANIFEST


def test_no_proxy_is_honoured(make_client, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    with pytest.raises(Unavailable, match="host name not found"):
        make_client().resolve(ref_of("nowhere.invalid"))


def test_loopback_never_goes_through_a_proxy(make_client, peer, answer, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    peer.say("GET /v2/a/manifests/t", answer(200, MANIFEST))
    assert make_client().resolve(ref_of(peer.address)).raw == MANIFEST


def test_a_proxy_of_another_kind_is_refused(make_client, monkeypatch):
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    with pytest.raises(InvalidArgument, match="proxy"):
        make_client().resolve(ref_of("quay.io"))


def test_an_insecure_host_is_asked_by_tls_before_anything_goes_out_plain(make_client):
    """A host that speaks both must not see what could have been encrypted."""
    first_bytes = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            while len(first_bytes) < 2:
                connection, _ = listener.accept()
                with connection:
                    first_bytes.append(connection.recv(3))

        thread = threading.Thread(target=answer)
        thread.start()
        authority = f"0.0.0.0:{listener.getsockname()[1]}"
        with pytest.raises(Unavailable):
            make_client(insecure_hosts=("*",), retries=0).resolve(ref_of(authority))
        thread.join(10)
    assert first_bytes == [b"\x16\x03\x01", b"GET"]


# --- connections are kept, and dropped ------------------------------------------


@pytest.fixture
def listen():
    """Serves one scripted function a connection; the (host, port) and how many have come."""
    with contextlib.ExitStack() as stack:

        def start(serve):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            came = []

            def accept():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        came.append(connection)
                        with connection, contextlib.suppress(OSError):
                            serve(connection)

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return f"127.0.0.1:{listener.getsockname()[1]}", came

        yield start


@pytest.fixture
def transport():
    made = Transport(RegistrySettings(retries=0, rate_min_bytes_s=1000, rate_window_s=0.2))
    yield made
    made.close()


def ask(transport, authority, **request):
    request = {"method": "GET", "url": f"http://{authority}/v2/", **request}
    return transport.send(Request(**request), Limits(Clock()))


def read_request(connection):
    said = b""
    while b"\r\n\r\n" not in said:
        data = connection.recv(65536)
        if not data:
            raise OSError
        said += data
    return said


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_connection_serves_one_request_after_the_other(transport, listen):
    def serve(connection):
        while True:
            read_request(connection)
            connection.sendall(OK)

    authority, came = listen(serve)
    assert [ask(transport, authority).body for _ in range(3)] == [b"ok"] * 3
    assert len(came) == 1


def test_an_idle_connection_that_the_peer_has_closed_is_not_used(transport, listen):
    def serve(connection):
        read_request(connection)
        connection.sendall(OK)

    authority, came = listen(serve)
    assert ask(transport, authority).body == b"ok"
    while came[0].fileno() >= 0:  # until the other side has closed
        threading.Event().wait(0.001)
    assert ask(transport, authority).body == b"ok"
    assert len(came) == 2


def test_what_is_said_unasked_is_no_answer_to_the_next_request(transport, listen):
    def serve(connection):
        read_request(connection)
        connection.sendall(OK + OK.replace(b"ok", b"no"))
        read_request(connection)

    authority, came = listen(serve)
    assert ask(transport, authority).body == b"ok"
    assert ask(transport, authority).body == b"ok"
    assert len(came) == 2


def test_a_refusal_in_the_middle_of_an_upload_is_heard(transport, listen):
    def serve(connection):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")

    authority, _ = listen(serve)

    @contextlib.contextmanager
    def endless():
        yield (bytes(1 << 16) for _ in range(4096))

    try:
        status = ask(transport, authority, method="PUT", body=StreamBody(endless)).status
    except Unavailable as error:  # the reset came before the answer was read
        assert "connection broke" in error.message
    else:
        assert status == 413
    assert ask(transport, authority).status == 413  # by a connection of its own


def test_a_peer_that_sends_a_byte_now_and_then_is_given_up(transport, listen):
    def serve(connection):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            threading.Event().wait(0.01)

    authority, _ = listen(serve)
    with pytest.raises(Unavailable, match="too slow: [0-9]+ bytes a second"):
        ask(transport, authority)


def test_a_head_that_never_ends_is_given_up(listen):
    def serve(connection):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X: y\r\n")
            threading.Event().wait(0.01)

    authority, _ = listen(serve)
    transport = Transport(RegistrySettings(read_timeout_s=0.2))
    with pytest.raises(Unavailable, match="timed out"):
        ask(transport, authority)


def test_an_endless_head_is_given_up(transport, listen):
    def serve(connection):
        read_request(connection)
        while True:
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)

    authority, _ = listen(serve)
    with pytest.raises(Unavailable, match="overlong"):
        ask(transport, authority)


def test_a_token_of_two_lines_is_refused_and_sent_nowhere(transport, listen):
    authority, came = listen(lambda connection: came.append(read_request(connection)))
    with pytest.raises(InvalidArgument, match="malformed header field 'Authorization'"):
        ask(transport, authority, headers={"Authorization": "Bearer x\r\nX: y"})
    assert len(came) <= 1


def test_an_overlong_answer_is_not_kept_waiting_for(transport, listen):
    authority, _ = listen(lambda connection: (read_request(connection), connection.sendall(OK)))
    with pytest.raises(ResourceExhausted):
        ask(transport, authority, size_max=1)


def test_tls_through_a_proxy_that_speaks_tls_itself(
    make_client, make_peer, certificates, answer, monkeypatch
):
    inner = make_peer(context=certificates.server_context(), host="127.0.0.3")
    inner.say("GET /v2/a/manifests/t", answer(200, MANIFEST))
    asked = []

    def carry(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def serve(listener):
        with certificates.server_context().wrap_socket(listener.accept()[0], server_side=True) as outer:
            asked.append(read_request(outer))
            outer.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
            with socket.create_connection(("127.0.0.3", inner.port)) as onward:
                back = threading.Thread(target=carry, args=(onward, outer), daemon=True)
                back.start()
                carry(outer, onward)
                back.join(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        monkeypatch.setenv("SSL_CERT_FILE", certificates.ca)
        monkeypatch.setenv("https_proxy", f"https://me:secret@127.0.0.1:{listener.getsockname()[1]}")
        name = f"peer.test:{inner.port}"
        client = make_client(insecure_hosts=(name,))
        assert client.resolve(ref_of(name)).raw == MANIFEST
        client.close()
        thread.join(10)
    assert asked[0].startswith(f"CONNECT {name} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in asked[0]
