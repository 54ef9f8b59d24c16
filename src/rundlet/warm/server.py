"""The warm process: has the command line imported, and forks a child for each command that a front brings.

It opens nothing and holds no state but modules: a child is what the command would have been, started
late.  What a child had to import beside them is imported here when it has ended, for the next ones.
One thread, since it forks.  It leaves when its time is over, when its socket is no longer its own,
and when rundlet's files have changed.

    <run root>/warm.sock         mode 0600
    <run root>/warm.sock.lock    held while it lives

It stays connected to the keeper that is there, which so stays for the next command, too (a start of
it takes 40 ms).
"""

import fcntl
import os
import select
import signal
import socket
import time
from typing import NamedTuple, NoReturn

from rundlet.keeper.place import connect_path, keeper_dir
from rundlet.warm.front import LINGER_S, STREAMS, SWITCH
from rundlet.warm.lent import serve
from rundlet.warm.modules import Loaded

_LOOK_MS = 2000  # how late it may notice that its socket was removed
_BACKLOG = 64
_NEWS_MAX_BYTES = 1 << 16


class Command(NamedTuple):
    """A child at work: its front, its end, and what it has imported."""

    front: socket.socket
    pid: int
    end_fd: int
    news_fd: int


class Listening(NamedTuple):
    """A socket bound to `path`, and what stat(2) says of that."""

    path: str
    listener: socket.socket
    own: os.stat_result


class Server:
    """Serves until `linger_s` after the last command; who has the descriptor `lock` is the only one."""

    def __init__(self, lock: int, listening: Listening, linger_s: float, loaded: Loaded) -> None:
        self._lock = lock
        self._path, self._listener, self._own = listening
        self._linger_s = linger_s
        self._loaded = loaded
        self._commands: dict[int, Command] = {}
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._keeper: socket.socket | None = None
        self._used_at_s = time.monotonic()
        self._is_retired = False

    def run(self) -> None:
        while self._commands or not self._is_over():
            for fd, _ in self._poll.poll(_LOOK_MS):
                self._handle(fd)
        if not self._is_retired:
            self._retire()

    def _is_over(self) -> bool:
        if self._is_retired or time.monotonic() - self._used_at_s > self._linger_s:
            return True
        try:
            return not os.path.samestat(os.stat(self._path), self._own)
        except OSError:
            return True

    def _handle(self, fd: int) -> None:
        if not self._is_retired and fd == self._listener.fileno():
            self._begin()
        elif self._keeper is not None and fd == self._keeper.fileno():
            self._let_keeper_go()
        elif fd in self._commands:
            self._finish(self._commands[fd])
        else:
            for command in self._commands.values():
                if command.front.fileno() == fd:
                    self._abandon(command)

    def _begin(self) -> None:
        try:
            front, _ = self._listener.accept()
        except OSError:
            return  # it has hung up
        if self._loaded.is_outdated():
            self._retire()
            _tell(front, b"o")
            front.close()
            return
        news_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        pid = os.fork()
        if pid == 0:
            os.close(news_fd)
            self._lend(front, write_fd)
        os.close(write_fd)
        command = Command(front, pid, os.pidfd_open(pid), news_fd)
        self._commands[command.end_fd] = command
        self._poll.register(command.end_fd, select.POLLIN)
        self._poll.register(front, select.POLLHUP)

    def _retire(self) -> None:
        """Let a new one take the place at once; what is being done here is done."""
        self._is_retired = True
        self._poll.unregister(self._listener)
        self._listener.close()
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass  # the run root was removed
        os.close(self._lock)

    def _lend(self, front: socket.socket, write_fd: int) -> NoReturn:
        """In the child: nothing that belongs to the server or to another command is left to it."""
        self._listener.close()
        os.close(self._lock)
        if self._keeper is not None:
            self._keeper.close()
        for other in self._commands.values():
            other.front.close()
            os.close(other.end_fd)
            os.close(other.news_fd)
        serve(front, self._loaded.names, write_fd)

    def _abandon(self, command: Command) -> None:
        """The front has gone, and a killed command is dead."""
        self._poll.unregister(command.front)
        try:
            signal.pidfd_send_signal(command.end_fd, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _finish(self, command: Command) -> None:
        _, status = os.waitpid(command.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        _tell(command.front, b"x" + bytes((code,)) if code >= 0 else b"s" + bytes((-code,)))
        self._forget(command)
        if news := _read_news(command.news_fd):
            self._loaded.load(news)
        self._hold_keeper()
        self._used_at_s = time.monotonic()

    def _forget(self, command: Command) -> None:
        del self._commands[command.end_fd]
        self._poll.unregister(command.end_fd)
        try:
            self._poll.unregister(command.front)
        except KeyError:
            pass  # abandoned
        command.front.close()
        os.close(command.end_fd)

    def _hold_keeper(self) -> None:
        """Connect to the keeper when there is one."""
        if self._keeper is not None:
            return
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            directory, address = connect_path(keeper_dir(os.path.dirname(self._path)))
        except OSError:
            return
        try:
            keeper.connect(address)
        except OSError:
            keeper.close()
        else:
            self._keeper = keeper
            self._poll.register(keeper, select.POLLIN)
        finally:
            os.close(directory)

    def _let_keeper_go(self) -> None:
        if self._keeper is not None:
            self._poll.unregister(self._keeper)
            self._keeper.close()
            self._keeper = None


def _tell(front: socket.socket, answer: bytes) -> None:
    try:
        front.send(answer)
    except OSError:
        pass  # it has gone


def _read_news(fd: int) -> list[str]:
    """The modules that a child has imported; none when it was killed."""
    try:
        return os.read(fd, _NEWS_MAX_BYTES).decode().split()
    except BlockingIOError:  # a program that the child has left behind has the pipe
        return []
    finally:
        os.close(fd)


def lock(path: str) -> int:
    """A descriptor that only one warm process of this run root can have; -1 when there is one."""
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    return fd


def listen(path: str) -> Listening:
    """Only for whoever has the lock."""
    try:
        os.unlink(path)  # a killed one's
    except FileNotFoundError:
        pass
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.umask(0o177)
    listener.bind(path)
    own = os.stat(path)
    listener.listen(_BACKLOG)
    return Listening(path, listener, own)


def come_loose() -> None:
    """Of the command that started it, which may have had signals ignored, files open, a directory."""
    os.closerange(len(STREAMS), os.sysconf("SC_OPEN_MAX"))
    os.chdir("/")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open("/proc/self/comm", "wb") as comm:
        comm.write(b"rundlet-warm")


def main(argv: list[str]) -> None:
    """`argv`: the socket's path, and modules to begin with."""
    path, *modules = argv
    come_loose()
    os.chdir(os.path.dirname(path))
    held = lock(path)
    if held < 0:
        return
    loaded = Loaded()
    loaded.load(modules)
    Server(held, listen(path), float(os.environ.get(SWITCH) or LINGER_S), loaded).run()
    os._exit(0)
