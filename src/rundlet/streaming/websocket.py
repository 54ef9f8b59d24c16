"""A WebSocket connection after its handshake (RFC 6455), as a value: bytes in, messages out.

The frames are the `websockets` package's; this adds what the channel protocols need:
whole binary messages of bounded size, and the opening handshake's answer.
"""

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, State
from websockets.utils import accept_key

from rundlet.errors import InvalidArgument

MESSAGE_MAX_BYTES = 1 << 20  # Go's clients send 32 KiB at a time

__all__ = ["MESSAGE_MAX_BYTES", "MessageConnection", "accept_key"]


class MessageConnection:
    """One end of an open connection; pings are answered without a word."""

    def __init__(self, *, is_client: bool) -> None:
        self._protocol = Protocol(CLIENT if is_client else SERVER, max_size=MESSAGE_MAX_BYTES)
        self._partial = bytearray()
        self._output = bytearray()
        self.is_closed = False  # by either side: no message comes any more

    def receive(self, data: bytes) -> list[bytes]:
        """Messages that are whole now; raises InvalidArgument when the peer breaks the protocol."""
        if self.is_closed:
            return []
        self._protocol.receive_data(data)
        messages = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                messages += self._assemble(event)
        self._collect()
        failure = self._protocol.parser_exc
        if failure is not None:
            self.is_closed = True
            raise InvalidArgument(f"WebSocket: {failure}") from failure
        self.is_closed = self._protocol.state is not State.OPEN
        return messages

    def _assemble(self, item: Frame) -> list[bytes]:
        if item.opcode not in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
            return []
        if item.fin and not self._partial:
            return [bytes(item.data)]
        self._partial += item.data
        if not item.fin:
            return []
        message = bytes(self._partial)
        self._partial.clear()
        return [message]

    def send(self, message: bytes, *, text: bool = False) -> None:
        """One message; dropped when the connection is closed."""
        if self._protocol.state is not State.OPEN:
            return
        if text:
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        self._collect()

    def close(self) -> None:
        """Say that nothing more comes; what was sent before still arrives."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._collect()

    def _collect(self) -> None:
        self._output += b"".join(self._protocol.data_to_send())

    @property
    def output_bytes(self) -> int:
        return len(self._output)

    def take_output(self) -> bytes:
        output = bytes(self._output)
        self._output.clear()
        return output
