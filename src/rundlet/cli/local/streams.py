"""A container's or an exec's streams joined with this program's own, until it ends or the user leaves.

    stdin (raw when it is a terminal) ──▶ process         SIGWINCH ──▶ its terminal's size
    stdout, stderr ◀── process                            other signals ──▶ the process

Output is read only as fast as it can be written: a slow reader makes the process wait, nothing
is lost.
"""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from rundlet.cli.terminal import STDIN_FD, DetachScanner, raw_terminal, read_size
from rundlet.engine.streams import ProcessStreams
from rundlet.errors import Error

_READ_BYTES = 1 << 16
_DRAIN_MS = 500  # for what an ended exec has left in its pipes; a background process may hold them for ever
# What concerns this program itself, or cannot be caught.
_OWN = {"SIGCHLD", "SIGPIPE", "SIGURG", "SIGWINCH", "SIGKILL", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"}
_FAULTS = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "SIGSYS", "SIGALRM", "SIGPROF"}


class Way(NamedTuple):
    """`detach_keys` are read from a terminal only; `tell` gets the signals that are passed on."""

    stdin: bool = False
    terminal: bool = False
    detach_keys: bytes = b""
    tell: Callable[[int], None] | None = None


class Outcome(NamedTuple):
    exit_code: int
    detached: bool = False


@contextmanager
def catch_signals(numbers: set[int]) -> Iterator[int]:
    """A descriptor from which each caught signal is read as one byte, its number."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield read_fd
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(read_fd)
        os.close(write_fd)


def passed_signals(*, proxy: bool) -> set[int]:
    """Signals to catch: a new size always, with `proxy` all that may be meant for the process."""
    caught: set[int] = {signal.SIGWINCH}
    if proxy:
        own = _OWN | _FAULTS
        caught |= {number for number in signal.Signals if number.name not in own and number < signal.SIGRTMIN}
    return caught


def run_session(streams: ProcessStreams, way: Way, signal_fd: int) -> Outcome:
    """Until the process ends; closes the streams.  `signal_fd` is that of `catch_signals`.

    Raises BrokenPipeError when nobody reads this program's output.
    """
    sys.stdout.flush()
    with ExitStack() as cleanup:
        cleanup.callback(streams.close)
        is_raw = way.terminal and os.isatty(STDIN_FD)
        if is_raw and way.stdin:
            cleanup.enter_context(raw_terminal())
        if is_raw:
            streams.resize(*read_size())
        return _Session(streams, way, signal_fd, resizes=is_raw).run()


class _Session:
    def __init__(self, streams: ProcessStreams, way: Way, signal_fd: int, *, resizes: bool) -> None:
        self._streams = streams
        self._way = way
        self._signal_fd = signal_fd
        self._resizes = resizes
        self._keys = DetachScanner(way.detach_keys if resizes else b"")
        self._typed = b""
        self._has_stdin = way.stdin
        self._has_ended = False

    def run(self) -> Outcome:
        while not self._keys.is_detached:
            ready = self._await()
            if ready is None:
                return Outcome(self._streams.exit_code())
            self._handle(ready)
        return Outcome(0, detached=True)

    def _await(self) -> dict[int, int] | None:
        """What is ready; None when the process has ended and all its output is out."""
        outputs, end_fd = self._streams.outputs(), self._streams.end_fd
        if not outputs and (end_fd < 0 or self._has_ended):
            return None
        poll = select.poll()
        poll.register(self._signal_fd, select.POLLIN)
        for fd in outputs:
            poll.register(fd, select.POLLIN)
        if end_fd >= 0 and not self._has_ended:
            poll.register(end_fd, select.POLLIN)
        if self._typed:
            fd = self._streams.input_fd
            poll.register(fd, select.POLLOUT | (select.POLLIN if fd in outputs else 0))
        elif self._has_stdin and not self._has_ended:
            poll.register(STDIN_FD, select.POLLIN)
        ready = dict(poll.poll(_DRAIN_MS if self._has_ended else None))
        return ready if ready or not self._has_ended else None

    def _handle(self, ready: dict[int, int]) -> None:
        if self._signal_fd in ready:
            self._pass_signals()
        for fd in [fd for fd in self._streams.outputs() if fd in ready]:
            self._write_out(fd)
        self._has_ended = self._has_ended or self._streams.end_fd in ready
        if self._typed and ready.get(self._streams.input_fd, 0) & ~select.POLLIN:
            self._pass_typed()
        elif STDIN_FD in ready and not self._typed:
            self._type()

    def _pass_signals(self) -> None:
        for number in os.read(self._signal_fd, _READ_BYTES):
            if number == signal.SIGWINCH:
                if self._resizes:
                    self._streams.resize(*read_size())
            elif self._way.tell is not None:
                try:
                    self._way.tell(number)
                except Error:
                    pass  # it has just ended

    def _write_out(self, fd: int) -> None:
        chunk = self._streams.read(fd, _READ_BYTES)
        if chunk is None:
            return
        view = memoryview(chunk.data)
        while view:
            view = view[os.write(chunk.stream, view) :]

    def _type(self) -> None:
        try:
            data = os.read(STDIN_FD, _READ_BYTES)
        except OSError:  # the terminal has gone
            data = b""
        if not data:
            self._has_stdin = False
            self._streams.end_input()
        self._typed = self._keys.scan(data)
        self._pass_typed()

    def _pass_typed(self) -> None:
        if self._typed and self._streams.input_fd >= 0:
            self._typed = self._typed[self._streams.write(self._typed) :]
        if self._streams.input_fd < 0:
            self._typed, self._has_stdin = b"", False
