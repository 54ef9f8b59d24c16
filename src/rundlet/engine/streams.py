"""Live streams of what runs: exec, attach and port-forward, for who polls descriptors.

    client ◀─▶ (a front's poll loop) ◀─▶ pipes or a terminal's master   exec
                                     ◀─▶ a packet socket of the keeper  attach
                                     ◀─▶ a TCP socket made in the pod   port-forward

Nothing here waits and nothing here buffers: a front reads only what it can pass on, so a
slow client makes the process wait, as a slow terminal would.  (Attach is the exception unless it is
lossless: the keeper waits for nobody, what an attached client does not read in time is lost to it.)
"""

import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, Protocol

from rundlet.engine.creation import bundle_path
from rundlet.engine.execchange import Change
from rundlet.engine.parts import Parts
from rundlet.engine.process import choose_exec_plan
from rundlet.engine.records import ContainerRecord, PodRecord, require_state
from rundlet.errors import FailedPrecondition, NotFound, Unavailable
from rundlet.keeper.handles import Attachment, ExecHandle

STDOUT, STDERR = 1, 2

_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_PACKET_BYTES = 1 << 15  # of stdin at a time to an attached container
_WAIT_S = 5.0  # for an exit record whose first byte is there already


class Chunk(NamedTuple):
    """Output; empty when that stream has ended."""

    stream: int
    data: bytes


class ProcessStreams(Protocol):
    """What a front sees of a process; for one thread.

    `outputs` are the descriptors that have not ended and the stream of each, 0 where several come
    together.  `input_fd` and `end_fd` are -1 when there is none.  `exit_code` may be called when
    `end_fd` is readable, `read` and `write` at any time.
    """

    input_fd: int
    end_fd: int

    def outputs(self) -> Mapping[int, int]: ...
    def read(self, fd: int, size_bytes: int) -> Chunk | None: ...
    def write(self, data: bytes) -> int: ...
    def end_input(self) -> None: ...
    def resize(self, width: int, height: int) -> None: ...
    def exit_code(self) -> int: ...
    def close(self) -> None: ...


class ExecStreams:
    """A further process and its streams; closing it hangs up, the process itself may go on."""

    def __init__(self, handle: ExecHandle, stdin_fd: int, outputs: dict[int, int]) -> None:
        """`outputs`: stream by descriptor."""
        self._handle = handle
        self._outputs = outputs
        self._terminal_fd = handle.terminal_fd
        if self._terminal_fd >= 0:
            self._outputs = {self._terminal_fd: STDOUT}
        self.input_fd = stdin_fd
        self.end_fd = handle.fileno()
        for fd in (stdin_fd, *self._outputs):
            if fd >= 0:
                os.set_blocking(fd, False)

    def outputs(self) -> Mapping[int, int]:
        return self._outputs

    def read(self, fd: int, size_bytes: int) -> Chunk | None:
        """At most `size_bytes` of one output; None when there is nothing now."""
        try:
            data = os.read(fd, size_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:  # the last process has let go of the terminal
                raise
            data = b""
        stream = self._outputs[fd]
        if not data:
            del self._outputs[fd]
            if fd != self._terminal_fd:
                os.close(fd)
        return Chunk(stream, data)

    def write(self, data: bytes) -> int:
        """How much was taken; all of it when nobody reads any more."""
        try:
            return os.write(self.input_fd, data)
        except BlockingIOError:
            return 0
        except OSError:  # EPIPE: it has closed its stdin; EIO: its terminal has gone
            self.end_input()
            return len(data)

    def end_input(self) -> None:
        """The process reads end of file; a terminal has no end before its last user goes."""
        if self.input_fd >= 0 and self.input_fd != self._terminal_fd:
            os.close(self.input_fd)
        self.input_fd = -1

    def resize(self, width: int, height: int) -> None:
        if self._terminal_fd >= 0:
            fcntl.ioctl(self._terminal_fd, termios.TIOCSWINSZ, struct.pack("4H", height, width, 0, 0))

    def exit_code(self) -> int:
        """Raises Unavailable when the keeper has gone, and the code with it."""
        end = self._handle.wait(_WAIT_S)
        if end is None:
            raise Unavailable(f"exec {self._handle.exec_id}: its exit code does not come")
        return end.exit_code

    def close(self) -> None:
        self.end_input()
        for fd in {*self._outputs, self._terminal_fd} - {-1}:
            os.close(fd)
        self._outputs = {}
        self._terminal_fd = -1
        self._handle.close()


class AttachStreams:
    """A container's own streams; its end is theirs.

    Lossless ones miss nothing, and bring the exit code when they have ended.  The others bring 0,
    and end with the client's stdin too, as clients expect who leave by their detach keys,
    unless the container reads until that end (`stdin_once` without a terminal).
    """

    end_fd = -1

    def __init__(
        self,
        attachment: Attachment,
        resize: Callable[[int, int], None],
        *,
        stdin: bool,
        outlasts_stdin: bool,
        lossless: bool,
        wanted: Sequence[int],
    ) -> None:
        """`resize` takes height and width."""
        self._attachment = attachment
        self._resize = resize
        self._wanted = tuple(wanted)
        self._outlasts_stdin = outlasts_stdin
        self._lossless = lossless
        self._has_ended = False
        os.set_blocking(attachment.fileno(), False)
        self.input_fd = attachment.fileno() if stdin else -1

    def outputs(self) -> Mapping[int, int]:
        return {} if self._has_ended else {self._attachment.fileno(): 0}

    def read(self, fd: int, size_bytes: int) -> Chunk | None:  # noqa: ARG002  # a packet comes whole
        try:
            packet = self._attachment.receive()
        except BlockingIOError:
            return None
        if packet is None:
            self._has_ended = True
            return Chunk(STDOUT, b"")
        stream, data = packet
        return Chunk(stream, data) if stream in self._wanted and data else None

    def write(self, data: bytes) -> int:
        piece = data[:_PACKET_BYTES]
        try:
            self._attachment.send(piece)
        except BlockingIOError:
            return 0
        except OSError:
            self.input_fd = -1
            return len(data)
        return len(piece)

    def end_input(self) -> None:
        if self.input_fd < 0:
            return
        self.input_fd = -1
        self._has_ended = self._has_ended or not self._outlasts_stdin
        try:
            self._attachment.close_stdin()
        except OSError:
            pass  # closing the attachment says the same

    def resize(self, width: int, height: int) -> None:
        try:
            self._resize(height, width)
        except (FailedPrecondition, NotFound):
            pass  # it has no terminal, or has just ended

    def exit_code(self) -> int:
        """Of a container whose lossless streams have ended; Unavailable when nobody could know."""
        if not self._lossless:
            return 0
        end = self._attachment.exit
        if end is None:
            raise Unavailable(
                "the container's streams ended before it did", hint="its keeper was killed; ask for its state"
            )
        return end.exit_code

    def close(self) -> None:
        self.input_fd = -1
        self._has_ended = True
        self._attachment.close()


def start_exec(
    parts: Parts,
    record: ContainerRecord,
    argv: Sequence[str],
    *,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    terminal: bool,
    change: Change | None = None,
) -> ExecStreams:
    """Run `argv` in a running container with the streams that are wanted; a terminal has stdout alone."""
    plan = choose_exec_plan(
        parts, record, bundle_path(parts, record.id), argv, terminal=terminal, change=change
    )
    if terminal:
        handle = parts.keeper.exec(record.id, plan)
        stdin_fd = handle.terminal_fd if stdin else -1
        return ExecStreams(handle, stdin_fd, {})
    with ExitStack() as ours, ExitStack() as theirs:
        stdin_end, stdin_fd = _make_pipe(theirs, ours) if stdin else (-1, -1)
        out_fd, out_end = _make_pipe(ours, theirs) if stdout else (-1, -1)
        err_fd, err_end = _make_pipe(ours, theirs) if stderr else (-1, -1)
        handle = parts.keeper.exec(record.id, plan, stdin_fd=stdin_end, stdout_fd=out_end, stderr_fd=err_end)
        ours.pop_all()
    outputs = {fd: stream for fd, stream in ((out_fd, STDOUT), (err_fd, STDERR)) if fd >= 0}
    return ExecStreams(handle, stdin_fd, outputs)


def _make_pipe(read_cleanup: ExitStack, write_cleanup: ExitStack) -> tuple[int, int]:
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    read_cleanup.callback(os.close, read_fd)
    write_cleanup.callback(os.close, write_fd)
    return read_fd, write_fd


def start_attach(
    parts: Parts, record: ContainerRecord, *, stdin: bool, stdout: bool, stderr: bool, lossless: bool
) -> AttachStreams:
    """Follow a container's output from now on, and type into it."""
    require_state(record, "created", "running", action="attach to")
    attachment = parts.keeper.attach(record.id, stdin=stdin, lossless=lossless)
    wanted = [stream for stream, there in ((STDOUT, stdout), (STDERR, stderr)) if there]
    return AttachStreams(
        attachment,
        lambda height, width: parts.keeper.resize(record.id, height, width),
        stdin=stdin,
        outlasts_stdin=lossless or (record.options.stdin_once and not record.options.tty),
        lossless=lossless,
        wanted=wanted,
    )


class Dial:
    """A TCP connection to a port on a pod's loopback being made: IPv4, and IPv6 where that is refused.

    Poll `fileno` for writing, then `advance`.
    """

    def __init__(self, open_socket: Callable[[int], socket.socket], pod_id: str, port: int) -> None:
        """Raises Unavailable when nobody listens."""
        self._open_socket = open_socket
        self._what = f"pod {pod_id[:13]}, port {port}"
        self._port = port
        self._left = list(_LOOPBACK)
        self._failure: OSError | None = None
        self._sock: socket.socket | None = None
        self._try_next()

    def _try_next(self) -> None:
        self.close()
        while self._left:
            family, address = self._left.pop(0)
            try:
                self._sock = self._open_socket(family)
                self._sock.setblocking(False)
                self._sock.connect((address, self._port))
            except BlockingIOError:
                return
            except OSError as error:
                self._note(error)
            else:
                return
        failure = self._failure
        words = os.strerror(failure.errno or 0).lower() if failure else "it cannot be reached"
        raise Unavailable(f"{self._what}: {words}") from failure

    def _note(self, error: OSError) -> None:
        """The first failure counts: without IPv6 the second only says so."""
        self._failure = self._failure or error
        self.close()

    def fileno(self) -> int:
        return self._sock.fileno() if self._sock else -1

    def advance(self) -> socket.socket | None:
        """The connection, the caller's to close; None when the next address is being tried."""
        sock = self._sock
        if sock is None:
            return None
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._note(OSError(code, os.strerror(code)))
            self._try_next()
            return None
        self._sock = None
        return sock

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def dial_pod(parts: Parts, record: PodRecord, port: int) -> Dial:
    """Begin a connection to a port inside a pod's network; raises FailedPrecondition for a stopped pod."""
    require_state(record, "ready", action="forward a port of")
    if record.options.security.namespaces.network == "node":
        return Dial(lambda family: socket.socket(family, socket.SOCK_STREAM), record.id, port)
    return Dial(lambda family: parts.keeper.pod_socket(record.id, family), record.id, port)
