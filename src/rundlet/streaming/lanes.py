"""Parallel byte lanes over one connection: a SPDY stream for each, or a WebSocket's channels.

Both kinds, and both ends of each, are used alike (`Lanes`): bytes from the wire become
events, what is sent waits in `take_output`.  What the lanes carry is command.py's matter.
"""

import base64
import binascii
from collections.abc import Collection
from typing import NamedTuple, Protocol

from rundlet.errors import InvalidArgument
from rundlet.streaming import spdy
from rundlet.streaming.channels import CHANNEL_BY_TYPE, CLOSE_SIGNAL, Channel, Dialect
from rundlet.streaming.websocket import MessageConnection

_STREAM_TYPE = "streamtype"


class LanesReady(NamedTuple):
    """Every lane that this session has can be used."""


class LaneData(NamedTuple):
    channel: Channel
    data: bytes


class LaneEnded(NamedTuple):
    """The peer sends no more on it."""

    channel: Channel


class LanesGone(NamedTuple):
    """The peer has said goodbye."""


LaneEvent = LanesReady | LaneData | LaneEnded | LanesGone


class Lanes(Protocol):
    """`credit`: how many bytes may be sent on a lane now; `consume`: how many that came are used."""

    def receive(self, data: bytes) -> list[LaneEvent]: ...
    def is_open(self, channel: Channel) -> bool: ...
    def credit(self, channel: Channel) -> int: ...
    def send(self, channel: Channel, data: bytes) -> None: ...
    def end(self, channel: Channel) -> None: ...
    def consume(self, channel: Channel, size_bytes: int) -> None: ...
    def close(self) -> None: ...
    def take_output(self) -> bytes: ...
    @property
    def output_bytes(self) -> int: ...


class SpdyLanes:
    """A stream for each lane; the client opens them, the server waits until all it expects are there."""

    def __init__(self, lanes: Collection[Channel], *, is_client: bool) -> None:
        self._spdy = spdy.Connection(is_client=is_client)
        self._awaited = set(lanes)
        self._ids: dict[Channel, int] = {}
        self._channels: dict[int, Channel] = {}
        if is_client:
            # The error lane first: Go's clients have always done so.
            for channel in sorted(lanes, key=lambda channel: channel is not Channel.ERROR):
                self._add(channel, self._spdy.open({_STREAM_TYPE: channel.name.lower()}))

    def _add(self, channel: Channel, stream_id: int) -> None:
        self._ids[channel] = stream_id
        self._channels[stream_id] = channel

    def receive(self, data: bytes) -> list[LaneEvent]:
        events: list[LaneEvent] = []
        for event in self._spdy.receive(data):
            events += self._translate(event)
        return events

    def _translate(self, event: spdy.Event) -> list[LaneEvent]:
        match event:
            case spdy.StreamOpened(stream_id, headers):
                return self._accept(stream_id, headers.get(_STREAM_TYPE, ""))
            case spdy.StreamAccepted(stream_id):
                return self._tick_off(self._channels[stream_id])
            case spdy.DataReceived(stream_id, data) if stream_id in self._channels:
                return [LaneData(self._channels[stream_id], data)]
            case spdy.StreamEnded(stream_id) | spdy.StreamReset(stream_id) if stream_id in self._channels:
                return [LaneEnded(self._channels[stream_id])]
            case spdy.GoneAway():
                return [LanesGone()]
        return []

    def _accept(self, stream_id: int, name: str) -> list[LaneEvent]:
        channel = CHANNEL_BY_TYPE.get(name)
        if channel is None or channel not in self._awaited:
            self._spdy.reset(stream_id, spdy.PROTOCOL_ERROR)
            return []
        self._add(channel, stream_id)
        self._spdy.accept(stream_id)
        return self._tick_off(channel)

    def _tick_off(self, channel: Channel) -> list[LaneEvent]:
        was_awaited = channel in self._awaited
        self._awaited.discard(channel)
        return [LanesReady()] if was_awaited and not self._awaited else []

    def is_open(self, channel: Channel) -> bool:
        """Whether it is there and has not been reset."""
        return self._spdy.is_open(self._ids.get(channel, 0))

    def credit(self, channel: Channel) -> int:
        return self._spdy.credit(self._ids.get(channel, 0))

    def send(self, channel: Channel, data: bytes) -> None:
        self._spdy.send(self._ids.get(channel, 0), data)

    def end(self, channel: Channel) -> None:
        self._spdy.end(self._ids.get(channel, 0))

    def consume(self, channel: Channel, size_bytes: int) -> None:
        self._spdy.consume(self._ids.get(channel, 0), size_bytes)

    def close(self) -> None:
        for stream_id in self._channels:
            self._spdy.end(stream_id)
        self._spdy.go_away()

    def take_output(self) -> bytes:
        return self._spdy.take_output()

    @property
    def output_bytes(self) -> int:
        return self._spdy.output_bytes


class WebSocketLanes:
    """Messages that begin with their channel; the lanes are there at once."""

    def __init__(self, dialect: Dialect, *, is_client: bool) -> None:
        self._messages = MessageConnection(is_client=is_client)
        self._dialect = dialect
        self._is_new = True

    def receive(self, data: bytes) -> list[LaneEvent]:
        events: list[LaneEvent] = [LanesReady()] if self._is_new else []
        self._is_new = False
        for message in self._messages.receive(data):
            events += self._read(message)
        return events + ([LanesGone()] if self._messages.is_closed else [])

    def _read(self, message: bytes) -> list[LaneEvent]:
        if not message:
            return []
        if self._dialect.close_signal and message[0] == CLOSE_SIGNAL:
            if len(message) != 2:
                raise InvalidArgument("WebSocket: a close signal names one channel")
            return [LaneEnded(_channel(message[1]))]
        if self._dialect.base64:
            return [LaneData(_channel(message[0] - ord("0")), _decode(message[1:]))]
        return [LaneData(_channel(message[0]), message[1:])]

    def is_open(self, channel: Channel) -> bool:  # noqa: ARG002  # all are, always
        return True

    def credit(self, channel: Channel) -> int:  # noqa: ARG002  # WebSocket has no windows
        return spdy.QUANTUM_BYTES

    def send(self, channel: Channel, data: bytes) -> None:
        if self._dialect.base64:
            self._messages.send(str(int(channel)).encode() + base64.b64encode(data), text=True)
        else:
            self._messages.send(bytes((channel,)) + data)

    def end(self, channel: Channel) -> None:
        """Servers and clients signal the end of stdin only, and only where the dialect can."""
        if channel is Channel.STDIN and self._dialect.close_signal:
            self._messages.send(bytes((CLOSE_SIGNAL, channel)))

    def consume(self, channel: Channel, size_bytes: int) -> None:
        pass

    def close(self) -> None:
        self._messages.close()

    def take_output(self) -> bytes:
        return self._messages.take_output()

    @property
    def output_bytes(self) -> int:
        return self._messages.output_bytes


def _channel(number: int) -> Channel:
    try:
        return Channel(number)
    except ValueError as error:
        raise InvalidArgument(f"WebSocket: there is no channel {number}") from error


def _decode(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidArgument("WebSocket: a message is not base64") from error
