"""A remote command (exec, attach) over lanes: the server's end and the client's.

client                                   server
  stdin bytes, end of stdin      ──▶       Input, InputEnded
  terminal sizes                 ──▶       Resized
  Output(stdout | stderr)        ◀──       bytes of the process
  Finished(outcome)              ◀──       exit code or failure, then goodbye
"""

from typing import NamedTuple

from rundlet.errors import InvalidArgument
from rundlet.streaming.channels import (
    Channel,
    Dialect,
    Outcome,
    Size,
    SizeReader,
    decode_outcome,
    encode_outcome,
    encode_size,
)
from rundlet.streaming.lanes import LaneData, LaneEnded, LaneEvent, Lanes, LanesGone, LanesReady

_OUTCOME_MAX_BYTES = 64 * 1024


class Wanted(NamedTuple):
    """The streams of a session; with a terminal stderr is part of stdout."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    terminal: bool = False

    def lanes(self, dialect: Dialect) -> tuple[Channel, ...]:
        """The channels that both ends have."""
        resize = self.terminal and dialect.resize
        given = {
            Channel.STDIN: self.stdin,
            Channel.STDOUT: self.stdout,
            Channel.STDERR: self.stderr and not self.terminal,
            Channel.ERROR: True,
            Channel.RESIZE: resize,
        }
        return tuple(channel for channel, there in given.items() if there)


class Ready(NamedTuple):
    """The command may begin."""


class Input(NamedTuple):
    data: bytes


class InputEnded(NamedTuple):
    """No more stdin."""


class Resized(NamedTuple):
    size: Size


class Gone(NamedTuple):
    """The client has left."""


CommandEvent = Ready | Input | InputEnded | Resized | Gone


class CommandServer:
    """The end that has the process."""

    def __init__(self, lanes: Lanes, wanted: Wanted, dialect: Dialect) -> None:
        self.lanes = lanes
        self._wanted = wanted
        self._dialect = dialect
        self._sizes = SizeReader()

    def receive(self, data: bytes) -> list[CommandEvent]:
        """Raises InvalidArgument when the client breaks the protocol."""
        events: list[CommandEvent] = []
        for event in self.lanes.receive(data):
            events += self._translate(event)
        return events

    def _translate(self, event: LaneEvent) -> list[CommandEvent]:
        match event:
            case LanesReady():
                return [Ready()]
            case LaneData(Channel.STDIN, data) if self._wanted.stdin:
                return [Input(data)]
            case LaneData(Channel.RESIZE, data) if self._wanted.terminal:
                self.lanes.consume(Channel.RESIZE, len(data))
                return [Resized(size) for size in self._sizes.feed(data)]
            case LaneData(channel, data):
                self.lanes.consume(channel, len(data))  # nobody asked for it
            case LaneEnded(Channel.STDIN):
                return [InputEnded()]
            case LanesGone():
                return [Gone()]
        return []

    def announce(self) -> None:
        """An empty message: WebSocket clients learn from it that the server is there."""
        channel = Channel.STDOUT if self._wanted.stdout else Channel.ERROR
        self.lanes.send(channel, b"")

    def consume_input(self, size_bytes: int) -> None:
        self.lanes.consume(Channel.STDIN, size_bytes)

    def finish(self, outcome: Outcome) -> None:
        """Say how it ended, end every lane and say goodbye."""
        for channel in (Channel.STDOUT, Channel.STDERR):
            self.lanes.end(channel)
        said = encode_outcome(outcome, self._dialect)
        if said:
            self.lanes.send(Channel.ERROR, said)
        self.lanes.close()


class Output(NamedTuple):
    channel: Channel
    data: bytes


class Finished(NamedTuple):
    outcome: Outcome


ClientEvent = Ready | Output | Finished


class CommandClient:
    """The end that has the user."""

    def __init__(self, lanes: Lanes, dialect: Dialect) -> None:
        self.lanes = lanes
        self._dialect = dialect
        self._said = bytearray()
        self._is_ready = False
        self._is_finished = False

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Raises InvalidArgument when the server breaks the protocol."""
        events: list[ClientEvent] = []
        for event in self.lanes.receive(data):
            events += self._translate(event)
        return events

    def _translate(self, event: LaneEvent) -> list[ClientEvent]:
        match event:
            case LanesReady():
                self._is_ready = True
                return [Ready()]
            case LaneData(Channel.STDOUT | Channel.STDERR as channel, data):
                return [Output(channel, data)] if data else []
            case LaneData(Channel.ERROR, data):
                self.lanes.consume(Channel.ERROR, len(data))
                self._said += data
                if len(self._said) > _OUTCOME_MAX_BYTES:
                    raise InvalidArgument("the server's outcome is over 64 KiB")
            case LanesGone():
                return self._finish()
            case LaneEnded(Channel.ERROR):
                return self._finish()
        return []

    def _finish(self) -> list[ClientEvent]:
        if self._is_finished:
            return []
        self._is_finished = True
        if not self._is_ready:
            return [Finished(Outcome(message="the server has refused the session"))]
        return [Finished(decode_outcome(bytes(self._said), self._dialect))]

    def resize(self, size: Size) -> None:
        if self._dialect.resize:
            self.lanes.send(Channel.RESIZE, encode_size(size))
