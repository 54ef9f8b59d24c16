"""A client of any runtime's streaming server: from the URL that an RPC answered to an open session."""

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from rundlet.cri.stream_socket import ClientSocket
from rundlet.errors import InvalidArgument, Unavailable
from rundlet.streaming import channels, handshake, portforward
from rundlet.streaming.command import CommandClient, Wanted
from rundlet.streaming.handshake import SPDY, WEBSOCKET, Answer, AnswerReader
from rundlet.streaming.lanes import SpdyLanes, WebSocketLanes
from rundlet.streaming.portforward import PlainWire, SpdyForwardClient, TunnelWire

CONNECT_TIMEOUT_S = 10.0

AskUrl = Callable[[], str]  # a new URL for every try: its token is good for one


class StreamTls(NamedTuple):
    """PEM files.  Without `ca` the server's certificate is not checked: the URL came over the local socket."""

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = "localhost"


class CommandStream(NamedTuple):
    """An open exec or attach: `rest` is what the server has sent already."""

    sock: ClientSocket
    client: CommandClient
    rest: bytes


class ForwardStream(NamedTuple):
    sock: ClientSocket
    client: SpdyForwardClient
    rest: bytes


class _Opened(NamedTuple):
    sock: ClientSocket
    transport: str
    answer: Answer


def open_command(ask_url: AskUrl, wanted: Wanted, transport: str, tls: StreamTls) -> CommandStream:
    """Exec or attach over `transport`; "" tries WebSocket in its newest dialect, then SPDY.

    Older WebSocket dialects cannot say that stdin has ended, so they must be asked for.
    """
    websocket = tuple(channels.WEBSOCKET_DIALECTS)[: -3 if transport else 1]
    offers = {WEBSOCKET: websocket, SPDY: tuple(channels.SPDY_DIALECTS)}
    opened = _open(ask_url, _choose(offers, transport), tls)
    table = channels.WEBSOCKET_DIALECTS if opened.transport == WEBSOCKET else channels.SPDY_DIALECTS
    dialect = table.get(opened.answer.protocol, channels.Dialect())
    if opened.transport == WEBSOCKET:
        lanes: WebSocketLanes | SpdyLanes = WebSocketLanes(dialect, is_client=True)
    else:
        lanes = SpdyLanes(wanted.lanes(dialect), is_client=True)
    return CommandStream(opened.sock, CommandClient(lanes, dialect), opened.answer.rest)


def open_forward(ask_url: AskUrl, transport: str, tls: StreamTls) -> ForwardStream:
    """Port-forward over `transport`; "" tries SPDY inside WebSocket, then plain SPDY."""
    offers: dict[str, tuple[str, ...]] = {
        WEBSOCKET: (portforward.TUNNEL_PROTOCOL,),
        SPDY: (portforward.SPDY_PROTOCOL,),
    }
    opened = _open(ask_url, _choose(offers, transport), tls)
    wire = TunnelWire(is_client=True) if opened.transport == WEBSOCKET else PlainWire()
    return ForwardStream(opened.sock, SpdyForwardClient(wire), opened.answer.rest)


def _choose(offers: dict[str, tuple[str, ...]], transport: str) -> dict[str, tuple[str, ...]]:
    return {transport: offers[transport]} if transport else offers


def _open(ask_url: AskUrl, offers: dict[str, tuple[str, ...]], tls: StreamTls) -> _Opened:
    """The first offer that is taken; raises Unavailable with the server's words when none is."""
    words = ""
    for transport, protocols in offers.items():
        sock = _connect(ask_url, transport, protocols, tls)
        if isinstance(sock, _Opened):
            return sock
        words = sock
    raise Unavailable(f"the runtime refuses the streaming session: {words}")


def _connect(ask_url: AskUrl, transport: str, protocols: Sequence[str], tls: StreamTls) -> _Opened | str:
    """The open session, or why the server does not want it."""
    url = ask_url()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port:
        raise InvalidArgument(f"the runtime's streaming URL cannot be used: {url!r}")
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    sock = _dial(parts.hostname, parts.port, tls if parts.scheme == "https" else None)
    try:
        answer = _negotiate(sock, transport, parts.netloc, target, protocols)
    except OSError as error:
        sock.close()
        raise Unavailable(f"streaming from {parts.netloc}: {error}") from error
    except BaseException:
        sock.close()
        raise
    if answer.status != 101 or (answer.protocol not in protocols and answer.protocol):
        sock.close()
        return answer.message or f"status {answer.status}"
    client = ClientSocket(sock)
    client.begin()
    return _Opened(client, transport, answer)


def _dial(host: str, port: int, tls: StreamTls | None) -> socket.socket:
    try:
        sock = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
        return _make_context(tls).wrap_socket(sock, server_hostname=tls.server_name) if tls else sock
    except OSError as error:
        raise Unavailable(
            f"cannot connect to the runtime's streaming server {host}:{port}: {error}"
        ) from error


def _make_context(tls: StreamTls) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if tls.ca:
        context.load_verify_locations(tls.ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key or None)
    return context


def _negotiate(
    sock: socket.socket, transport: str, host: str, target: str, protocols: Sequence[str]
) -> Answer:
    nonce = os.urandom(16)
    sock.sendall(handshake.request(transport, host, target, protocols, nonce))
    reader = AnswerReader(transport, nonce)
    data = sock.recv(1 << 16)
    if not data:
        raise ConnectionResetError("it has hung up")
    while (answer := reader.receive(data)) is None:
        data = sock.recv(1 << 16)
    return answer
