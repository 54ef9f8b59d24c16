"""The HTTP/1.1 upgrade that begins a session, both ends, as values (RFC 9110, 7.8; RFC 6455, 4).

    GET or POST /exec/TOKEN                     HTTP/1.1 101 Switching Protocols
    Connection: Upgrade                         Connection: Upgrade
    Upgrade: SPDY/3.1                           Upgrade: SPDY/3.1
    X-Stream-Protocol-Version: v4.channel…      X-Stream-Protocol-Version: v4.channel…

or Upgrade: websocket with its Sec-WebSocket-… headers.  What follows the empty line is the
session's.
"""

import base64
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import h11

from rundlet.errors import InvalidArgument
from rundlet.streaming.websocket import accept_key

SPDY = "spdy"
WEBSOCKET = "websocket"
HEAD_MAX_BYTES = 16 * 1024

_PROTOCOL_HEADER = "x-stream-protocol-version"
_UPGRADE = {SPDY: "SPDY/3.1", WEBSOCKET: "websocket"}


class Upgrade(NamedTuple):
    """A client's request: `protocols` are its offers in order, `transport` "" when it wants no upgrade we know."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    transport: str
    protocols: tuple[str, ...]
    key: str
    rest: bytes  # what came behind the request


class Answer(NamedTuple):
    """A server's answer: `status` 101 when it has upgraded to `protocol`; `message` its first words otherwise."""

    status: int
    protocol: str
    message: str
    rest: bytes


class UpgradeReader:
    """Collects a request head."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)

    def receive(self, data: bytes) -> Upgrade | None:
        """None while more is needed; raises InvalidArgument for what is no request."""
        try:
            self._http.receive_data(data)
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise InvalidArgument(f"not an HTTP request: {error}") from error
        if event is h11.NEED_DATA:
            return None
        if not isinstance(event, h11.Request):
            raise InvalidArgument("not an HTTP request: the connection ended")
        return _read_request(event, self._http.trailing_data[0])


def _read_request(request: h11.Request, rest: bytes) -> Upgrade:
    headers = _collect(request.headers)
    target = urlsplit(request.target.decode("latin-1"))
    transport = _find_transport(headers)
    key = headers.get("sec-websocket-key", "")
    if transport == WEBSOCKET:
        _check_websocket(headers, key)
    return Upgrade(
        method=request.method.decode("ascii"),
        path=target.path,
        query=tuple(_parse_query(target.query)),
        transport=transport,
        protocols=_split(
            headers.get("sec-websocket-protocol" if transport == WEBSOCKET else _PROTOCOL_HEADER, "")
        ),
        key=key,
        rest=rest,
    )


def _parse_query(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, max_num_fields=256)
    except ValueError as error:
        raise InvalidArgument(f"not an HTTP request: {error}") from error


def _collect(headers: h11._headers.Headers) -> dict[str, str]:
    """By name in lower case; values of a repeated header joined, as RFC 9110 (5.3) lets."""
    found: dict[str, str] = {}
    for name, value in headers:
        text = value.decode("latin-1")
        key = name.decode("ascii")
        found[key] = f"{found[key]},{text}" if key in found else text
    return found


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _find_transport(headers: Mapping[str, str]) -> str:
    if "upgrade" not in headers.get("connection", "").lower():
        return ""
    wanted = headers.get("upgrade", "").lower()
    return next((name for name, token in _UPGRADE.items() if token.lower() in wanted), "")


def _check_websocket(headers: Mapping[str, str], key: str) -> None:
    if headers.get("sec-websocket-version") != "13":
        raise InvalidArgument("WebSocket: version 13 is spoken here, RFC 6455")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        is_key = False
    if not is_key:
        raise InvalidArgument("WebSocket: Sec-WebSocket-Key is missing or wrong")


def accept(upgrade: Upgrade, protocol: str) -> bytes:
    """The server's 101."""
    headers = [("Connection", "Upgrade"), ("Upgrade", _UPGRADE[upgrade.transport])]
    if upgrade.transport == WEBSOCKET:
        headers.append(("Sec-WebSocket-Accept", accept_key(upgrade.key)))
        name = "Sec-WebSocket-Protocol"
    else:
        name = "X-Stream-Protocol-Version"
    if protocol:
        headers.append((name, protocol))
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers)
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1")


def refuse(status: int, message: str, accepted: Sequence[str] = ()) -> bytes:
    """The server's answer to who may not come in; `accepted` are protocols that it would speak."""
    body = f"{message}\n".encode()
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Content-Type: text/plain; charset=utf-8"]
    lines += [f"X-Accepted-Stream-Protocol-Versions: {name}" for name in accepted if name]
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def request(transport: str, host: str, target: str, protocols: Sequence[str], nonce: bytes) -> bytes:
    """The client's request; `nonce` are 16 random bytes (RFC 6455, 4.1)."""
    method = "GET" if transport == WEBSOCKET else "POST"
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        f"Upgrade: {_UPGRADE[transport]}",
    ]
    if transport == WEBSOCKET:
        lines += [f"Sec-WebSocket-Key: {base64.b64encode(nonce).decode()}", "Sec-WebSocket-Version: 13"]
        lines += [f"Sec-WebSocket-Protocol: {', '.join(protocols)}"]
    else:
        lines += [f"X-Stream-Protocol-Version: {name}" for name in protocols]
        lines += ["Content-Length: 0"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class AnswerReader:
    """Collects a server's answer."""

    def __init__(self, transport: str, nonce: bytes) -> None:
        self._transport = transport
        self._accept = accept_key(base64.b64encode(nonce).decode())
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX_BYTES)
        # It has to know that an upgrade was asked for, or 101 would be an error.
        self._http.send(
            h11.Request(method="GET", target="/", headers=[("Host", "-"), ("Upgrade", transport)])
        )
        self._http.send(h11.EndOfMessage())
        self._refused: tuple[int, bytes] | None = None

    def receive(self, data: bytes) -> Answer | None:
        """None while more is needed; b"" is the end.  Raises InvalidArgument for what is no answer."""
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return None
                answer = self._read(event)
                if answer is not None:
                    return answer
        except h11.RemoteProtocolError as error:
            raise InvalidArgument(f"not an HTTP answer: {error}") from error

    def _read(self, event: object) -> Answer | None:
        match event:
            case h11.InformationalResponse(status_code=101):
                return self._read_upgrade(_collect(event.headers))
            case h11.InformationalResponse():
                return None
            case h11.Response(status_code=status):
                self._refused = (status, b"")
            case h11.Data(data=piece) if self._refused:
                self._refused = (self._refused[0], (self._refused[1] + piece)[:HEAD_MAX_BYTES])
            case h11.EndOfMessage() if self._refused:
                return Answer(self._refused[0], "", self._refused[1].decode(errors="replace").strip(), b"")
            case _:
                raise InvalidArgument("not an HTTP answer: the connection ended")
        return None

    def _read_upgrade(self, headers: Mapping[str, str]) -> Answer:
        if self._transport == WEBSOCKET and headers.get("sec-websocket-accept") != self._accept:
            raise InvalidArgument("WebSocket: the server's Sec-WebSocket-Accept is wrong")
        name = "sec-websocket-protocol" if self._transport == WEBSOCKET else _PROTOCOL_HEADER
        return Answer(101, headers.get(name, ""), "", self._http.trailing_data[0])
