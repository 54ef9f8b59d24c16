"""A SPDY/3.1 connection as a value: bytes in, events out, no socket and no clock.

    connection.receive(data) → [StreamOpened, DataReceived, …]
    connection.send(stream_id, data), .end(stream_id), …
    connection.take_output() → bytes for the peer

A stream is open until both sides have ended it, or one has reset it; then it is forgotten:

              local end                    remote end
    open ───────────────▶ half-closed ────────────────▶ gone      (or in the other order)
      └──────────────────── reset, by either side ────▶ gone

Flow control (section 2.6.8): every stream and the connection have a window in each direction.
The implementation that kubelet, crictl and containerd are made with (moby/spdystream 0.5) has
none: it never sends credit, and never waits for any.  So

    sending     the peer's windows bind us once it has sent SETTINGS or WINDOW_UPDATE; waiting
                for credit that never comes would hang every session after 64 KiB
    receiving   credit is sent when bytes are consumed, from the first window's end on; a peer that
                overruns that window ignores credit and gets none, as unread frames make its
                closing a reset, which costs us the last bytes (seen with containerd 1.6)

An overrun is no error; who uses this class bounds memory by not reading from the socket.

After an error the connection stays failed: what is left to send ends with GOAWAY.
"""

from typing import Literal, NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.streaming import frame

WINDOW_BYTES = 64 * 1024  # at the start, as the protocol has it
WINDOW_MAX_BYTES = 2**31 - 1
QUANTUM_BYTES = 64 * 1024  # at a time to a peer without windows
STREAMS_MAX = 256  # of the peer's, at a time; a port-forward uses two a connection

PROTOCOL_ERROR = 1
INVALID_STREAM = 2
REFUSED_STREAM = 3
CANCEL = 5
FLOW_CONTROL_ERROR = 7
STREAM_ALREADY_CLOSED = 9

_GO_AWAY_OK = 0
_GO_AWAY_PROTOCOL_ERROR = 1
_SETTING_STREAMS_MAX = 4
_SETTING_WINDOW = 7


class StreamOpened(NamedTuple):
    """The peer has opened a stream: answer with `accept` or `reset`."""

    stream_id: int
    headers: dict[str, str]


class StreamAccepted(NamedTuple):
    """The peer has accepted a stream of ours."""

    stream_id: int


class DataReceived(NamedTuple):
    stream_id: int
    data: bytes


class StreamEnded(NamedTuple):
    """The peer sends no more on it; it may still read."""

    stream_id: int


class StreamReset(NamedTuple):
    stream_id: int
    status: int


class GoneAway(NamedTuple):
    """The peer opens no more streams and accepts none."""

    status: int


Event = StreamOpened | StreamAccepted | DataReceived | StreamEnded | StreamReset | GoneAway


class _Stream:
    """One stream's state.

    `send_window` is what the peer allows, `unread_bytes` what has come and is not consumed,
    `debt_bytes` what is consumed and not yet credited.
    """

    __slots__ = ("debt_bytes", "is_local", "local_ended", "remote_ended", "send_window", "unread_bytes")

    def __init__(self, send_window: int, *, is_local: bool) -> None:
        self.is_local = is_local
        self.send_window = send_window
        self.unread_bytes = 0
        self.debt_bytes = 0
        self.local_ended = False
        self.remote_ended = False


class Connection:
    """One end; the client's streams have odd numbers."""

    def __init__(self, *, is_client: bool) -> None:
        self._is_client = is_client
        self._reader = frame.FrameReader()
        self._writer = frame.FrameWriter()
        self._output = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1 if is_client else 2
        self._last_remote_id = 0
        self._keeps_windows = False  # whether the peer's windows bind us
        self._credit: Literal["unknown", "wanted", "ignored"] = "unknown"  # what ours are to the peer
        self._receive_left = WINDOW_BYTES
        self._initial_window = WINDOW_BYTES
        self._send_window = WINDOW_BYTES
        self._debt_bytes = 0
        self._gone = False
        self.is_failed = False
        self._write(frame.Settings({_SETTING_STREAMS_MAX: STREAMS_MAX}))

    # -- the wire -----------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """What the bytes mean; raises InvalidArgument when the peer breaks the protocol."""
        if self.is_failed:
            raise InvalidArgument("SPDY: the connection has failed before")
        self._reader.feed(data)
        events: list[Event] = []
        try:
            while (item := self._reader.next_frame()) is not None:
                events += self._handle(item)
        except InvalidArgument:
            self.is_failed = True
            self._write(frame.GoAway(self._last_remote_id, _GO_AWAY_PROTOCOL_ERROR))
            raise
        return events

    def take_output(self) -> bytes:
        output = bytes(self._output)
        self._output.clear()
        return output

    @property
    def output_bytes(self) -> int:
        """How much waits to be taken."""
        return len(self._output)

    def _write(self, item: frame.Frame) -> None:
        self._output += self._writer.encode(item)

    # -- what a user does -----------------------------------------------------------

    def open(self, headers: dict[str, str]) -> int:
        """Open a stream; its id."""
        stream_id = self._next_id
        self._next_id += 2
        self._streams[stream_id] = _Stream(self._initial_window, is_local=True)
        self._write(frame.SynStream(stream_id, headers))
        return stream_id

    def accept(self, stream_id: int) -> None:
        self._write(frame.SynReply(stream_id, {}))

    def reset(self, stream_id: int, status: int = CANCEL) -> None:
        """End both directions at once; nothing happens to a stream that has gone."""
        if stream_id in self._streams:
            self._forget(stream_id)
            self._write(frame.RstStream(stream_id, status))

    def is_open(self, stream_id: int) -> bool:
        """Whether either side may still send on it."""
        return stream_id in self._streams

    def credit(self, stream_id: int) -> int:
        """How many bytes may be sent on a stream now; 0 for one that has gone or that we have ended."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_ended:
            return 0
        if not self._keeps_windows:
            return QUANTUM_BYTES
        return max(0, min(stream.send_window, self._send_window))

    def send(self, stream_id: int, data: bytes) -> None:
        """Send within `credit`; bytes for a stream that has gone are dropped."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_ended:
            return
        stream.send_window -= len(data)
        self._send_window -= len(data)
        for start in range(0, len(data), frame.DATA_MAX_BYTES):
            self._write(frame.Data(stream_id, data[start : start + frame.DATA_MAX_BYTES]))

    def end(self, stream_id: int) -> None:
        """Send no more on a stream."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.local_ended:
            return
        stream.local_ended = True
        self._write(frame.Data(stream_id, b"", fin=True))
        self._forget_ended(stream_id, stream)

    def consume(self, stream_id: int, size_bytes: int) -> None:
        """Bytes of a stream have been used: the peer may send as many again.

        Credit is sent in halves of a window, not for every byte.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return  # its bytes were given back when it went
        stream.unread_bytes -= size_bytes
        stream.debt_bytes += size_bytes
        if self._is_credit_wanted() and stream.debt_bytes >= WINDOW_BYTES // 2 and not stream.remote_ended:
            self._write(frame.WindowUpdate(stream_id, stream.debt_bytes))
            stream.debt_bytes = 0
        self._consume_connection(size_bytes)

    def _consume_connection(self, size_bytes: int) -> None:
        self._debt_bytes += size_bytes
        if self._is_credit_wanted() and self._debt_bytes >= WINDOW_BYTES // 2:
            self._write(frame.WindowUpdate(0, self._debt_bytes))
            self._receive_left += self._debt_bytes
            self._debt_bytes = 0

    def _is_credit_wanted(self) -> bool:
        """A silent peer that has stopped right at the end of its first window waits for credit."""
        if self._credit == "unknown" and self._receive_left == 0:
            self._credit = "wanted"
        return self._credit == "wanted"

    def _note_flow_control(self) -> None:
        """The peer has sent something that only who keeps windows sends."""
        self._keeps_windows = True
        if self._credit == "unknown":
            self._credit = "wanted"

    def go_away(self) -> None:
        """Say that this is the end."""
        if not self._gone:
            self._gone = True
            self._write(frame.GoAway(self._last_remote_id, _GO_AWAY_OK))

    # -- what the peer does ---------------------------------------------------------

    def _handle(self, item: frame.Frame) -> list[Event]:
        match item:
            case frame.Data():
                return self._handle_data(item)
            case frame.SynStream():
                return self._handle_open(item)
            case frame.SynReply(stream_id, _, fin):
                return self._handle_reply(stream_id, fin)
            case frame.Headers(stream_id, _, True):
                return self._end_remote(stream_id)
            case frame.RstStream(stream_id, status):
                return self._handle_reset(stream_id, status)
            case frame.WindowUpdate(stream_id, delta):
                return self._handle_window(stream_id, delta & WINDOW_MAX_BYTES)
            case frame.Settings(values):
                self._handle_settings(values)
            case frame.Ping():
                self._handle_ping(item)
            case frame.GoAway(_, status):
                return [GoneAway(status)]
        return []

    def _handle_ping(self, item: frame.Ping) -> None:
        """The peer's own have its parity and are sent back; the others answer ours."""
        if item.ping_id % 2 != self._is_client:
            self._write(item)

    def _handle_open(self, item: frame.SynStream) -> list[Event]:
        if item.stream_id % 2 == self._is_client or item.stream_id <= self._last_remote_id:
            raise InvalidArgument(f"SPDY: the peer may not open stream {item.stream_id}")
        self._last_remote_id = item.stream_id
        remote = sum(not stream.is_local for stream in self._streams.values())
        if self._gone or remote >= STREAMS_MAX:
            self._write(frame.RstStream(item.stream_id, REFUSED_STREAM))
            return []
        stream = _Stream(self._initial_window, is_local=False)
        stream.local_ended = item.unidirectional
        self._streams[item.stream_id] = stream
        opened: list[Event] = [StreamOpened(item.stream_id, item.headers)]
        return opened + (self._end_remote(item.stream_id) if item.fin else [])

    def _handle_reply(self, stream_id: int, fin: bool) -> list[Event]:
        stream = self._streams.get(stream_id)
        if stream is None or not stream.is_local:
            return []
        accepted: list[Event] = [StreamAccepted(stream_id)]
        return accepted + (self._end_remote(stream_id) if fin else [])

    def _handle_data(self, item: frame.Data) -> list[Event]:
        stream = self._streams.get(item.stream_id)
        self._receive_left -= len(item.data)
        if self._receive_left < 0 and self._credit == "unknown":
            self._credit = "ignored"
        if stream is None or stream.remote_ended:
            self._consume_connection(len(item.data))
            self._refuse_data(item.stream_id)
            return []
        stream.unread_bytes += len(item.data)
        events: list[Event] = [DataReceived(item.stream_id, item.data)] if item.data else []
        return events + (self._end_remote(item.stream_id) if item.fin else [])

    def _refuse_data(self, stream_id: int) -> None:
        """Data may cross our reset of its stream; what nobody has opened, or has ended, is refused."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self.reset(stream_id, STREAM_ALREADY_CLOSED)
        elif not self._was_open(stream_id):
            self._write(frame.RstStream(stream_id, INVALID_STREAM))

    def _was_open(self, stream_id: int) -> bool:
        is_local = stream_id % 2 == self._is_client
        return stream_id < self._next_id if is_local else stream_id <= self._last_remote_id

    def _end_remote(self, stream_id: int) -> list[Event]:
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_ended:
            return []
        stream.remote_ended = True
        self._forget_ended(stream_id, stream)
        return [StreamEnded(stream_id)]

    def _handle_reset(self, stream_id: int, status: int) -> list[Event]:
        if stream_id not in self._streams:
            return []
        self._forget(stream_id)
        return [StreamReset(stream_id, status)]

    def _handle_settings(self, values: dict[int, int]) -> None:
        self._note_flow_control()
        window = values.get(_SETTING_WINDOW)
        if window is None:
            return
        if window > WINDOW_MAX_BYTES:
            raise InvalidArgument(f"SPDY: an initial window of {window} bytes")
        for stream in self._streams.values():
            stream.send_window += window - self._initial_window
        self._initial_window = window

    def _handle_window(self, stream_id: int, delta: int) -> list[Event]:
        self._note_flow_control()
        if stream_id == 0:
            self._send_window += delta
            if self._send_window > WINDOW_MAX_BYTES:
                raise InvalidArgument("SPDY: the connection's window is over 2 GiB")
            return []
        stream = self._streams.get(stream_id)
        if stream is None:
            return []
        stream.send_window += delta
        if stream.send_window > WINDOW_MAX_BYTES:
            self.reset(stream_id, FLOW_CONTROL_ERROR)
            return [StreamReset(stream_id, FLOW_CONTROL_ERROR)]
        return []

    # -- the end of a stream ----------------------------------------------------------

    def _forget_ended(self, stream_id: int, stream: _Stream) -> None:
        if stream.local_ended and stream.remote_ended:
            self._forget(stream_id)

    def _forget(self, stream_id: int) -> None:
        """What it had unread will not be consumed: the connection's window gets it back."""
        self._consume_connection(self._streams.pop(stream_id).unread_bytes)
