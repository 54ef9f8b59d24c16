"""The session of an exec or an attach: one process, up to three streams, a terminal's size.

The process starts when all the client's streams are there, and is hung up on when the client
leaves: its stdin ends and its output goes nowhere.  What it has written when it ends is sent
before its exit code; what a child of it still holds open is not waited for.
"""

import time
from collections.abc import Callable, Mapping

from rundlet.cri.stream_session import Session
from rundlet.cri.stream_socket import READ, WRITE, ClientSocket
from rundlet.engine.streams import ProcessStreams
from rundlet.errors import DeadlineExceeded, Error
from rundlet.streaming.channels import Channel, Outcome
from rundlet.streaming.command import CommandEvent, CommandServer, Gone, Input, InputEnded, Ready, Resized

INPUT_MAX_BYTES = 256 * 1024
STREAMS_TIMEOUT_S = 30.0  # for the client to open its streams

_READ_BYTES = 64 * 1024  # what a pipe holds
# After the end of the process: what it wrote is in the pipes; who inherited them is not waited for.
_DRAIN_S = 0.5
_DRAIN_MAX_BYTES = 1 << 20


class CommandSession(Session):
    """Serves one client; `start` makes the process and may raise an Error, which the client is told."""

    def __init__(
        self,
        sock: ClientSocket,
        server: CommandServer,
        start: Callable[[], ProcessStreams],
        idle_timeout_s: float,
    ) -> None:
        super().__init__(sock, server.lanes, idle_timeout_s)
        self._server = server
        self._start = start
        self._process: ProcessStreams | None = None
        self._ready_by_s = time.monotonic() + STREAMS_TIMEOUT_S
        self._input = bytearray()
        self._has_input_ended = False
        self._held: dict[Channel, bytes] = {}  # output beyond the client's credit
        self._outcome: Outcome | None = None
        self._drain_by_s = 0.0
        self._drained_bytes = 0

    # -- from the client ------------------------------------------------------------------

    def _receive(self, data: bytes) -> None:
        for event in self._server.receive(data):
            self._obey(event)

    def _obey(self, event: CommandEvent) -> None:
        match event:
            case Ready():
                self._begin()
            case Input(data):
                self._input += data
            case InputEnded():
                self._has_input_ended = True
            case Resized(size) if self._process is not None:
                self._process.resize(size.width, size.height)
            case Gone():
                self._is_gone = True

    def _begin(self) -> None:
        try:
            self._process = self._start()
        except Error as error:
            self._finish(Outcome(message=str(error)))
            return
        self._server.announce()

    def _has_room(self) -> bool:
        return len(self._input) < INPUT_MAX_BYTES

    # -- the loop's questions ----------------------------------------------------------------

    def _deadline_s(self) -> float | None:
        if self._process is None:
            return self._ready_by_s
        return self._drain_by_s if self._outcome is not None and not self._is_blocked() else None

    def _interest(self) -> Mapping[int, int]:
        process = self._process
        if process is None:
            return {}
        interest: dict[int, int] = {}
        for fd, stream in process.outputs().items():
            blocked = bool(self._held) if stream == 0 else Channel(stream) in self._held
            if self._is_clear and not blocked:
                interest[fd] = READ
        if self._input and process.input_fd >= 0:
            interest[process.input_fd] = interest.get(process.input_fd, 0) | WRITE
        if process.end_fd >= 0 and self._outcome is None:
            interest[process.end_fd] = READ
        return interest

    def _handle(self, ready: Mapping[int, int]) -> None:
        process = self._process
        if process is None:
            if not self._is_finished and time.monotonic() >= self._ready_by_s:
                raise DeadlineExceeded(
                    f"the client has not opened its streams within {STREAMS_TIMEOUT_S:g} s"
                )
            return
        self._pass_input(process, ready)
        for fd in list(process.outputs()):
            if ready.get(fd, 0) & READ:
                self._read(process, fd)
        self._pass_output()
        if ready.get(process.end_fd):
            self._note_end(process)
        if self._is_drained(process):
            self._finish(self._outcome or Outcome(process.exit_code()))

    # -- to the process ----------------------------------------------------------------------

    def _pass_input(self, process: ProcessStreams, ready: Mapping[int, int]) -> None:
        if self._input and process.input_fd < 0:
            self._drop_input()
        elif self._input and ready.get(process.input_fd, 0) & WRITE:
            taken = process.write(bytes(self._input[:_READ_BYTES]))
            del self._input[:taken]
            self._server.consume_input(taken)
        if self._has_input_ended and not self._input:
            process.end_input()

    def _drop_input(self) -> None:
        """Nobody reads it any more; the client must not hang because of that."""
        self._server.consume_input(len(self._input))
        self._input.clear()

    # -- from the process --------------------------------------------------------------------

    def _read(self, process: ProcessStreams, fd: int) -> None:
        chunk = process.read(fd, _READ_BYTES)
        if chunk is None or not chunk.data:
            return
        channel = Channel(chunk.stream)
        self._held[channel] = self._held.get(channel, b"") + chunk.data
        if self._outcome is not None:
            self._drained_bytes += len(chunk.data)

    def _pass_output(self) -> None:
        for channel, data in list(self._held.items()):
            size = min(len(data), self._server.lanes.credit(channel))
            if not self._server.lanes.is_open(channel):  # the client has reset it: its bytes go nowhere
                size = len(data)
            if size:
                self._server.lanes.send(channel, data[:size])
            if size == len(data):
                del self._held[channel]
            else:
                self._held[channel] = data[size:]

    def _is_blocked(self) -> bool:
        return bool(self._held) or not self._is_clear

    def _note_end(self, process: ProcessStreams) -> None:
        try:
            self._outcome = Outcome(process.exit_code())
        except Error as error:
            self._outcome = Outcome(message=str(error))
        self._drain_by_s = time.monotonic() + _DRAIN_S

    def _is_drained(self, process: ProcessStreams) -> bool:
        """Everything that the client is to see has been passed on."""
        if self._held:
            return False
        if not process.outputs():
            return self._outcome is not None or process.end_fd < 0
        if self._outcome is None:
            return False
        is_late = time.monotonic() >= self._drain_by_s and self._is_clear
        return is_late or self._drained_bytes >= _DRAIN_MAX_BYTES

    def _finish(self, outcome: Outcome) -> None:
        self._server.finish(outcome)
        self._is_finished = True

    def _close(self) -> None:
        if self._process is not None:
            self._process.close()
