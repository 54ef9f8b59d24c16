"""Terminals: handing the master to an engine, or being the engine in the foreground."""

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import tty

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.oci.arguments import Arguments
from rundlet.spec.runtime import ConsoleSize, Process

_CHUNK_BYTES = 1 << 16


def check_console(terminal: bool, arguments: Arguments) -> None:
    """InvalidArgument where a terminal has nowhere to go, or a socket gets none (as runc has it)."""
    given = arguments.text("console-socket")
    if terminal and arguments.has("detach") and not given:
        raise InvalidArgument("cannot allocate a terminal for a detached container without --console-socket")
    if not terminal and given:
        raise InvalidArgument("flag --console-socket: set although process.terminal is false")
    if terminal and not given and not _has_terminal():
        raise InvalidArgument(
            "cannot give the container a terminal: this process has none itself",
            hint="use --console-socket, or set process.terminal to false",
        )


def _has_terminal() -> bool:
    """One of stdio, or the controlling one (tty(4)): without any, nobody could answer the program."""
    if any(map(os.isatty, (2, 1, 0))):
        return True
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def send_master(path: str, master: int) -> None:
    """The terminal's master end to the listener at `path`, by SCM_RIGHTS."""
    send_descriptor(path, master, b"/dev/ptmx", "console socket")


def send_descriptor(path: str, fd: int, name: bytes, what: str) -> None:
    """`fd` with `name` as the message; FailedPrecondition when nobody listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
            socket.send_fds(sock, [name], [fd])
        except OSError as error:
            raise FailedPrecondition(f"{what} {path}: {os.strerror(error.errno or 0).lower()}") from error


def fit_terminal(process: Process) -> Process:
    """With the size of our own terminal where none is configured, so that the program finds it from the start."""
    if not process.terminal or process.console_size is not None or not os.isatty(0):
        return process
    height, width, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
    return process.replace(console_size=ConsoleSize(height, width))


class Proxy:
    """Copies between this process's stdio and a terminal's master; `restore` when done."""

    def __init__(self, master: int) -> None:
        self.master = master
        self._saved = termios.tcgetattr(0) if os.isatty(0) else None
        self._input = 0
        if self._saved is not None:
            tty.setraw(0)
            self.resize()
            signal.signal(signal.SIGWINCH, lambda *_: self.resize())

    def resize(self) -> None:
        """The container's terminal becomes as large as ours."""
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def fds(self) -> list[int]:
        return [fd for fd in (self.master, self._input) if fd >= 0]

    def pump(self, fd: int) -> None:
        """One chunk from a readable descriptor to the other side."""
        try:
            chunk = os.read(fd, _CHUNK_BYTES)
        except OSError:
            chunk = b""  # EIO: the last slave was closed
        if fd == self.master:
            if not chunk:
                self.master = -1
            _write_all(1, chunk)
        elif not chunk:
            self._input = -1
        else:
            _write_all(self.master, chunk)

    def drain(self) -> None:
        """What the terminal still holds when its last process has ended."""
        while self.master >= 0 and select.select([self.master], [], [], 0)[0]:
            self.pump(self.master)

    def restore(self) -> None:
        if self._saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)


def _write_all(fd: int, chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(fd, chunk) :]
