"""The user's end of exec and attach: stdin, stdout, stderr and the terminal of this program."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from rundlet.cli.terminal import STDIN_FD, DetachScanner, raw_terminal, read_size
from rundlet.cri.stream_client import CommandStream
from rundlet.cri.stream_session import Session
from rundlet.cri.stream_socket import READ
from rundlet.errors import FailedPrecondition, Unavailable
from rundlet.streaming.channels import Channel, Outcome, Size
from rundlet.streaming.command import ClientEvent, Finished, Output, Ready

_FDS = {Channel.STDOUT: 1, Channel.STDERR: 2}
_READ_BYTES = 32 * 1024


class UserSession(Session):
    """Runs until the process ends, the user detaches, or the runtime hangs up."""

    def __init__(self, stream: CommandStream, *, stdin: bool, resize_fd: int = -1) -> None:
        """`resize_fd` is readable when the terminal's size has changed; -1 without a terminal."""
        super().__init__(stream.sock, stream.client.lanes, idle_timeout_s=float("inf"))
        self._client = stream.client
        self._has_stdin = stdin
        self._resize_fd = resize_fd
        self._keys = DetachScanner()
        self._is_ready = False
        self.outcome: Outcome | None = None

    @property
    def is_detached(self) -> bool:
        return self._keys.is_detached

    def _receive(self, data: bytes) -> None:
        for event in self._client.receive(data):
            self._obey(event)

    def _obey(self, event: ClientEvent) -> None:
        match event:
            case Ready():
                self._is_ready = True
                self._send_size()
            case Output(channel, data):
                _write_all(_FDS[channel], data)
                self._client.lanes.consume(channel, len(data))
            case Finished(outcome):
                self.outcome = outcome
                self._is_finished = True

    def _send_size(self) -> None:
        if self._resize_fd >= 0:
            self._client.resize(Size(*read_size()))

    def _interest(self) -> Mapping[int, int]:
        interest = {self._resize_fd: READ} if self._resize_fd >= 0 else {}
        if self._is_ready and self._has_stdin and self._is_clear and self._client.lanes.credit(Channel.STDIN):
            interest[STDIN_FD] = READ
        return interest

    def _handle(self, ready: Mapping[int, int]) -> None:
        if ready.get(self._resize_fd):
            os.read(self._resize_fd, 1024)
            self._send_size()
        if ready.get(STDIN_FD):
            self._type()

    def _type(self) -> None:
        try:
            data = os.read(STDIN_FD, min(_READ_BYTES, self._client.lanes.credit(Channel.STDIN)))
        except OSError:  # the terminal has gone
            data = b""
        if not data:
            self._has_stdin = False
            self._client.lanes.end(Channel.STDIN)
            return
        if self._resize_fd >= 0:
            data = self._keys.scan(data)
            self._is_finished = self._keys.is_detached
        if data:
            self._client.lanes.send(Channel.STDIN, data)

    def _deadline_s(self) -> float | None:
        return None

    def _has_room(self) -> bool:
        return True  # output is written at once, at the user's pace

    def _close(self) -> None:
        self._client.lanes.close()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@contextmanager
def _resize_pipe() -> Iterator[int]:
    """A descriptor that becomes readable with every SIGWINCH."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    handler = signal.signal(signal.SIGWINCH, lambda *_: None)
    previous_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    try:
        yield read_fd
    finally:
        signal.set_wakeup_fd(previous_fd)
        signal.signal(signal.SIGWINCH, handler)
        os.close(read_fd)
        os.close(write_fd)


def run_stream(stream: CommandStream, *, stdin: bool, terminal: bool) -> int:
    """Until the end; the process's exit code.

    Raises FailedPrecondition with what the runtime says went wrong, Unavailable when it hangs
    up without a word, BrokenPipeError when nobody reads this program's output.
    """
    sys.stdout.flush()
    with ExitStack() as cleanup:
        resize_fd = -1
        if terminal:
            cleanup.enter_context(raw_terminal())
            resize_fd = cleanup.enter_context(_resize_pipe())
        session = UserSession(stream, stdin=stdin, resize_fd=resize_fd)
        cleanup.callback(stream.sock.close)
        session.run(stream.rest, b"")
    return _read_outcome(session)


def _read_outcome(session: UserSession) -> int:
    outcome = session.outcome
    if outcome is None:
        if session.is_detached:
            return 0
        raise Unavailable("the runtime has closed the session before its end")
    if outcome.message:
        raise FailedPrecondition(outcome.message)
    return outcome.exit_code
