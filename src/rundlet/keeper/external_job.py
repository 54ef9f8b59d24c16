"""One run of a runtime's program, and the socket by which it hands over a terminal."""

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence

from rundlet.errors import DeadlineExceeded, Error, FailedPrecondition, NotFound
from rundlet.keeper.loop import Loop, Timer
from rundlet.runtime.init import Stdio
from rundlet.step import step

# What Python ignores and a runtime must not inherit.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_TEXT_MAX_BYTES = 1 << 16
_COMPLAINT_MAX = 500
_SEVERE = ("error", "fatal", "panic", "critical")


class Job:
    """A process that is waited for by the loop; `verb` names it in errors, `log` is its --log, `output_fd` its stderr."""

    def __init__(self, verb: str, pid: int, log: str, output_fd: int = -1) -> None:
        self._verb = verb
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._log = log
        self._output_fd = output_fd
        self._output = b""
        self._code = 0
        self._complaint = ""
        self._limit_s = 0.0  # what it has exceeded

    def watch(self, loop: Loop, done: Callable[[], None], limit_s: float) -> None:
        """Call `done` when it has ended, killed after `limit_s` at the latest; from then on `check` tells how."""
        limit = loop.later(limit_s, lambda: self._expire(limit_s))
        loop.add(self._pidfd, lambda: self._on_end(loop, limit, done))

    def _expire(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self.kill()

    def kill(self) -> None:
        """It leads a process group: whatever it has started goes with it."""
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def check(self, read_output: Callable[[], bytes] | None = None) -> None:
        """FailedPrecondition with what the runtime said, unless it ended with 0; DeadlineExceeded.

        Its log is asked first, then its own stderr, or what `read_output` has.
        """
        if self._code == 0:
            return
        if self._limit_s:
            raise DeadlineExceeded(
                f"{self._verb}: not done within {self._limit_s:g} s, killed",
                hint="timeout_s of the runtime in the configuration says how long it may take",
            )
        said = self._complaint or _last_line(self._output or (read_output() if read_output else b""))
        how = f"killed by signal {-self._code}" if self._code < 0 else f"exit code {self._code}"
        said = said.removeprefix(f"{self._verb}: ") or "it said nothing"
        raise FailedPrecondition(f"{self._verb}: {said} ({how})")

    def error(self) -> Error | None:
        """What `check` raises."""
        try:
            self.check()
        except Error as error:
            return error
        return None

    def _on_end(self, loop: Loop, limit: Timer, done: Callable[[], None]) -> None:
        loop.cancel(limit)
        loop.remove(self._pidfd)
        os.close(self._pidfd)
        with step("keeper.runtime.reap"):
            _, wait_status = os.waitpid(self._pid, 0)
        self._code = os.waitstatus_to_exitcode(wait_status)
        if self._output_fd >= 0:
            self._output = os.pread(self._output_fd, _TEXT_MAX_BYTES, 0)
            os.close(self._output_fd)
        self._complaint = read_complaint(self._log)
        done()


def spawn(program: Sequence[str], verb: Sequence[str], log: str, stdio: Stdio | None = None) -> Job:
    """Run `program … --log LOG verb …` with `stdio`, or with its output kept for the error message.

    NotFound or FailedPrecondition when it cannot be executed.
    """
    argv = [*program, "--log", log, "--log-format", "json", *verb]
    output_fd = -1
    if stdio is None:
        output_fd = os.memfd_create("rundlet-runtime-output", os.MFD_CLOEXEC)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    fds = stdio or Stdio(null, output_fd, output_fd)
    what = f"{os.path.basename(program[0])} {verb[0]}"
    try:
        pid = os.posix_spawn(
            argv[0],
            argv,
            _ENVIRONMENT,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(fds)],
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
    except OSError as error:
        if output_fd >= 0:
            os.close(output_fd)
        raise _cannot_run(what, program[0], error) from error
    finally:
        os.close(null)
    return Job(what, pid, log, output_fd)


def _cannot_run(what: str, program: str, error: OSError) -> Error:
    kind = NotFound if isinstance(error, FileNotFoundError) else FailedPrecondition
    return kind(f"{what}: cannot run {program}: {os.strerror(error.errno or 0).lower()}")


def read_complaint(path: str) -> str:
    """The last severe message of a JSON log, which goes then."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TEXT_MAX_BYTES))
            lines = file.read().splitlines()
        os.unlink(path)
    except FileNotFoundError:
        return ""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
            if entry["level"] in _SEVERE:
                return _shorten(str(entry["msg"]))
        except (ValueError, KeyError, TypeError):
            continue
    return ""


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return _shorten(lines[-1]) if lines else ""


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _COMPLAINT_MAX else f"{line[:_COMPLAINT_MAX]}…"


class ConsoleSocket:
    """Where a runtime sends the terminal's master (runc's --console-socket).

    The runtime sends before it ends, so the socket is read afterwards and nobody waits.
    `path` is short however deep the directory lies: sun_path has 108 bytes.
    """

    def __init__(self, directory: str) -> None:
        self._directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = f"console.{self._socket.fileno()}"
        self._file = f"{directory}/{name}"
        self._socket.bind(f"/proc/self/fd/{self._directory_fd}/{name}")
        self._socket.listen(1)
        self._socket.setblocking(False)
        self.path = f"/proc/{os.getpid()}/fd/{self._directory_fd}/{name}"

    def take_master(self) -> int:
        """FailedPrecondition when no terminal was sent."""
        try:
            connection, _ = self._socket.accept()
            with connection:
                connection.setblocking(False)
                _, fds, _, _ = socket.recv_fds(connection, 4096, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            fds = []
        if not fds:
            raise FailedPrecondition("the runtime handed over no terminal")
        return fds[0]

    def close(self) -> None:
        self._socket.close()
        os.close(self._directory_fd)
        os.unlink(self._file)


def open_pidfd(pid: int) -> int:
    """-1 when it has been reaped."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def read_pid(path: str) -> int:
    """Raises FailedPrecondition when there is no number in the file."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError) as error:
        raise FailedPrecondition(f"the runtime wrote no pid to {path}") from error


def remove_files(*paths: str) -> None:
    """Those that are there."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
