"""Port-forward on the wire: many TCP connections of one pod over one connection.

SPDY, protocol portforward.k8s.io: the client opens two streams a connection, told apart by headers:

    port: 80   requestid: 7   streamtype: error     text, when the connection cannot be made
    port: 80   requestid: 7   streamtype: data      the bytes, both ways, each way ended alone

The same inside WebSocket messages is SPDY/3.1+portforward.k8s.io (`TunnelWire`).

WebSocket, v4.channel.k8s.io: one connection a port, fixed by the request's `port` parameters;
channel 2n is the data and 2n+1 the error of the n-th port, each begins with the port as uint16,
little endian.  It cannot end one way alone.

Facts: Kubernetes' port-forward client and its CRI streaming server.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rundlet.errors import InvalidArgument
from rundlet.streaming import spdy
from rundlet.streaming.channels import Dialect
from rundlet.streaming.frame import DATA_MAX_BYTES
from rundlet.streaming.websocket import MessageConnection

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = f"SPDY/3.1+{SPDY_PROTOCOL}"
WEBSOCKET_DIALECTS = {
    "v4.channel.k8s.io": Dialect(),
    "v4.base64.channel.k8s.io": Dialect(base64=True),
    "": Dialect(),
}
PORTS_MAX = 32  # of one WebSocket session: 64 channels, which stay ASCII in base64 messages too

_ERROR_MAX_BYTES = 4096


class ForwardOpened(NamedTuple):
    """The client wants a connection to `port`."""

    key: str
    port: int


class ForwardData(NamedTuple):
    key: str
    data: bytes


class ForwardEnded(NamedTuple):
    """The peer sends no more; it still reads."""

    key: str


class ForwardReset(NamedTuple):
    """The peer has dropped the connection; `message` says why, to a client."""

    key: str
    message: str = ""


class ForwardsGone(NamedTuple):
    """The peer has said goodbye."""


ForwardEvent = ForwardOpened | ForwardData | ForwardEnded | ForwardReset | ForwardsGone


class ForwardServer(Protocol):
    """What a server of either kind does; `half_open` are connections whose second stream is awaited."""

    def receive(self, data: bytes) -> list[ForwardEvent]: ...
    def credit(self, key: str) -> int: ...
    def send(self, key: str, data: bytes) -> None: ...
    def end(self, key: str) -> None: ...
    def consume(self, key: str, size_bytes: int) -> None: ...
    def fail(self, key: str, message: str) -> None: ...
    def close(self) -> None: ...
    def take_output(self) -> bytes: ...
    @property
    def half_open(self) -> frozenset[str]: ...
    @property
    def output_bytes(self) -> int: ...


class PlainWire:
    """SPDY right on the connection."""

    def unwrap(self, data: bytes) -> bytes:
        return data

    def wrap(self, data: bytes) -> bytes:
        return data

    @property
    def is_closed(self) -> bool:
        return False


class TunnelWire:
    """SPDY's bytes inside WebSocket messages, cut anywhere."""

    def __init__(self, *, is_client: bool) -> None:
        self._messages = MessageConnection(is_client=is_client)

    def unwrap(self, data: bytes) -> bytes:
        return b"".join(self._messages.receive(data))

    def wrap(self, data: bytes) -> bytes:
        for start in range(0, len(data), DATA_MAX_BYTES):
            self._messages.send(data[start : start + DATA_MAX_BYTES])
        return self._messages.take_output()

    @property
    def is_closed(self) -> bool:
        return self._messages.is_closed


class _Pair:
    """The two streams of a connection; 0 for one that is not there yet."""

    __slots__ = ("data_id", "error_id", "is_ended", "message", "port")

    def __init__(self, port: int) -> None:
        self.port = port
        self.error_id = 0
        self.data_id = 0
        self.is_ended = False  # by us
        self.message = bytearray()


class _SpdyForward:
    """What both ends share."""

    def __init__(self, wire: PlainWire | TunnelWire, *, is_client: bool) -> None:
        self._spdy = spdy.Connection(is_client=is_client)
        self._wire = wire
        self._pairs: dict[str, _Pair] = {}
        self._keys: dict[int, str] = {}

    def receive(self, data: bytes) -> list[ForwardEvent]:
        """Raises InvalidArgument when the peer breaks the protocol."""
        events: list[ForwardEvent] = []
        for event in self._spdy.receive(self._wire.unwrap(data)):
            events += self._translate(event)
        return events + ([ForwardsGone()] if self._wire.is_closed else [])

    def _translate(self, event: spdy.Event) -> list[ForwardEvent]:
        match event:
            case spdy.StreamOpened(stream_id, headers):
                return self._accept(stream_id, headers)
            case spdy.DataReceived(stream_id, data) if stream_id in self._keys:
                return self._hear(stream_id, data)
            case spdy.StreamEnded(stream_id) if stream_id in self._keys:
                return self._hear_end(stream_id)
            case spdy.StreamReset(stream_id) if stream_id in self._keys:
                return self._hear_reset(stream_id)
            case spdy.GoneAway():
                return [ForwardsGone()]
        return []

    def _accept(self, stream_id: int, headers: dict[str, str]) -> list[ForwardEvent]:  # noqa: ARG002
        """A client accepts no streams."""
        self._spdy.reset(stream_id, spdy.REFUSED_STREAM)
        return []

    def _hear(self, stream_id: int, data: bytes) -> list[ForwardEvent]:
        key = self._keys[stream_id]
        pair = self._pairs[key]
        if stream_id == pair.data_id:
            return [ForwardData(key, data)]
        self._spdy.consume(stream_id, len(data))
        pair.message += data[: _ERROR_MAX_BYTES - len(pair.message)]
        return []

    def _hear_end(self, stream_id: int) -> list[ForwardEvent]:
        key = self._keys[stream_id]
        pair = self._pairs[key]
        if stream_id == pair.data_id:
            ended: list[ForwardEvent] = [ForwardEnded(key)]
            self._drop_ended(key, pair)
            return ended
        return self._fail_remote(key, pair) if pair.message else []

    def _hear_reset(self, stream_id: int) -> list[ForwardEvent]:
        key = self._keys[stream_id]
        pair = self._pairs[key]
        return self._fail_remote(key, pair) if stream_id == pair.data_id or pair.message else []

    def _fail_remote(self, key: str, pair: _Pair) -> list[ForwardEvent]:
        self._drop(key)
        return [ForwardReset(key, pair.message.decode(errors="replace"))]

    def credit(self, key: str) -> int:
        pair = self._pairs.get(key)
        return self._spdy.credit(pair.data_id) if pair else 0

    def send(self, key: str, data: bytes) -> None:
        if key in self._pairs:
            self._spdy.send(self._pairs[key].data_id, data)

    def end(self, key: str) -> None:
        """Send no more on a connection; it is forgotten when the peer has ended too."""
        pair = self._pairs.get(key)
        if pair is not None and not pair.is_ended:
            pair.is_ended = True
            self._spdy.end(pair.data_id)
            self._drop_ended(key, pair)

    def _drop_ended(self, key: str, pair: _Pair) -> None:
        if pair.is_ended and not self._spdy.is_open(pair.data_id):
            self._drop(key)

    def _drop(self, key: str) -> None:
        pair = self._pairs.pop(key)
        self._spdy.reset(pair.data_id)
        self._spdy.end(pair.error_id)
        for stream_id in (pair.data_id, pair.error_id):
            self._keys.pop(stream_id, None)

    def consume(self, key: str, size_bytes: int) -> None:
        if key in self._pairs:
            self._spdy.consume(self._pairs[key].data_id, size_bytes)

    def close(self) -> None:
        for key in list(self._pairs):
            self._drop(key)
        self._spdy.go_away()

    def take_output(self) -> bytes:
        return self._wire.wrap(self._spdy.take_output())

    @property
    def output_bytes(self) -> int:
        return self._spdy.output_bytes


class SpdyForwardServer(_SpdyForward):
    def __init__(self, wire: PlainWire | TunnelWire) -> None:
        super().__init__(wire, is_client=False)

    @property
    def half_open(self) -> frozenset[str]:
        return frozenset(key for key, pair in self._pairs.items() if not (pair.data_id and pair.error_id))

    def _accept(self, stream_id: int, headers: dict[str, str]) -> list[ForwardEvent]:
        """The pair is named by the request id; clients older than it open the error stream, then the data."""
        kind = headers.get("streamtype", "")
        port = headers.get("port", "")
        is_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535
        if kind not in ("error", "data") or not is_port:
            self._spdy.reset(stream_id, spdy.PROTOCOL_ERROR)
            return []
        key = headers.get("requestid") or f"stream {stream_id if kind == 'error' else stream_id - 2}"
        pair = self._pairs.setdefault(key, _Pair(int(port)))
        if getattr(pair, f"{kind}_id") or pair.port != int(port):
            self._spdy.reset(stream_id, spdy.PROTOCOL_ERROR)
            return []
        setattr(pair, f"{kind}_id", stream_id)
        self._keys[stream_id] = key
        self._spdy.accept(stream_id)
        return [ForwardOpened(key, pair.port)] if pair.data_id and pair.error_id else []

    def fail(self, key: str, message: str) -> None:
        """The connection could not be made, or one of its streams did not come."""
        pair = self._pairs.get(key)
        if pair is not None:
            self._spdy.send(pair.error_id, message.encode()[:_ERROR_MAX_BYTES])
            self._drop(key)


class SpdyForwardClient(_SpdyForward):
    def __init__(self, wire: PlainWire | TunnelWire) -> None:
        super().__init__(wire, is_client=True)
        self._count = 0

    def open(self, port: int) -> str:
        """A new connection to `port`; its key."""
        key = str(self._count)
        self._count += 1
        pair = self._pairs[key] = _Pair(port)
        headers = {"port": str(port), "requestid": key}
        pair.error_id = self._spdy.open({**headers, "streamtype": "error"})
        self._spdy.end(pair.error_id)
        pair.data_id = self._spdy.open({**headers, "streamtype": "data"})
        self._keys |= {pair.error_id: key, pair.data_id: key}
        return key

    def abort(self, key: str) -> None:
        """Drop a connection at once."""
        if key in self._pairs:
            self._drop(key)


class WebSocketForwardServer:
    """A connection for each port of the request; its key is the number of its data channel."""

    def __init__(self, ports: Sequence[int], dialect: Dialect) -> None:
        self._messages = MessageConnection(is_client=False)
        self._dialect = dialect
        self._open = {str(2 * index): port for index, port in enumerate(ports)}
        self._is_new = True
        for index, port in enumerate(ports):
            for channel in (2 * index, 2 * index + 1):
                self._write(channel, port.to_bytes(2, "little"))

    def receive(self, data: bytes) -> list[ForwardEvent]:
        """Raises InvalidArgument when the client breaks the protocol."""
        events: list[ForwardEvent] = []
        if self._is_new:
            events += [ForwardOpened(key, port) for key, port in self._open.items()]
        self._is_new = False
        for message in self._messages.receive(data):
            events += self._read(message)
        return events + ([ForwardsGone()] if self._messages.is_closed else [])

    def _read(self, message: bytes) -> list[ForwardEvent]:
        if not message:
            return []
        key = str(message[0] - ord("0") if self._dialect.base64 else message[0])
        return [ForwardData(key, self._decode(message[1:]))] if key in self._open else []

    def _decode(self, data: bytes) -> bytes:
        if not self._dialect.base64:
            return data
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise InvalidArgument("WebSocket: a message is not base64") from error

    def _write(self, channel: int, data: bytes) -> None:
        if self._dialect.base64:
            self._messages.send(bytes((ord("0") + channel,)) + base64.b64encode(data), text=True)
        else:
            self._messages.send(bytes((channel,)) + data)

    def credit(self, key: str) -> int:
        return DATA_MAX_BYTES if key in self._open else 0

    def send(self, key: str, data: bytes) -> None:
        if key in self._open:
            self._write(int(key), data)

    def end(self, key: str) -> None:
        """Nothing on the wire can say it; when every connection has ended the session does."""
        self._open.pop(key, None)
        if not self._open:
            self._messages.close()

    def consume(self, key: str, size_bytes: int) -> None:
        pass

    def fail(self, key: str, message: str) -> None:
        if key in self._open:
            self._write(int(key) + 1, message.encode()[:_ERROR_MAX_BYTES])
            self.end(key)

    def close(self) -> None:
        self._messages.close()

    def take_output(self) -> bytes:
        return self._messages.take_output()

    @property
    def half_open(self) -> frozenset[str]:
        return frozenset()

    @property
    def output_bytes(self) -> int:
        return self._messages.output_bytes
