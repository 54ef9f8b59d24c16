"""One connection to the keeper of a run root, and how a keeper comes to be there."""

import fcntl
import os
import socket
import sys
import time
from typing import Any

from rundlet.errors import DeadlineExceeded, Unavailable, from_code
from rundlet.keeper.place import connect_path, keeper_dir
from rundlet.keeper.protocol import (
    OLDEST_VERSION,
    PROTOCOL_VERSION,
    Packet,
    receive_packet,
    send_packet,
)
from rundlet.step import environment, step

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[3]); from rundlet.keeper.anchor import main; main(sys.argv[1:])"
)
_START_TIMEOUT_S = 15.0
_RETRY_PAUSE_S = 0.02


class ConnectionLost(Unavailable):
    """The keeper's supervisor has gone under a request: it may or may not have been done."""


class Connection:
    """One SOCK_SEQPACKET connection, used by one thread at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._next_id = 0
        self.is_stopped = False

    def send(self, verb: str, args: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        self._next_id += 1
        self._sock.setblocking(True)
        try:
            send_packet(self._sock, {"id": self._next_id, "verb": verb, "args": args}, fds)
        except OSError as error:
            raise ConnectionLost(f"keeper: {verb}: {os.strerror(error.errno or 0).lower()}") from error

    def receive(self, timeout_s: float | None = None) -> Packet:
        """The next answer to the last request; raises what the keeper says went wrong, DeadlineExceeded when nothing came in time."""
        self._sock.settimeout(timeout_s)
        try:
            packet = receive_packet(self._sock)
            while packet is not None and packet.message.get("id", self._next_id) != self._next_id:
                _close_all(packet.fds)  # a second answer to a request that had failed
                packet = receive_packet(self._sock)
        except (TimeoutError, BlockingIOError):  # the latter when no time at all was left
            raise DeadlineExceeded("keeper: no answer in time") from None
        except OSError as error:
            raise ConnectionLost(f"keeper: {os.strerror(error.errno or 0).lower()}") from error
        if packet is None:
            raise ConnectionLost(
                "keeper: it has closed the connection",
                hint="the call may or may not have been done; ask for the state",
            )
        if "error" in packet.message:
            raise from_code(*packet.message["error"])
        return Packet(packet.message["ok"], packet.fds)

    def stop(self) -> None:
        """End it from another thread: who waits in `receive` gets Unavailable at once."""
        self.is_stopped = True
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the keeper was faster

    def finish(self) -> None:
        """Send no more: what the keeper has sent already still comes, then the end."""
        self._sock.shutdown(socket.SHUT_WR)

    def is_stale(self) -> bool:
        """The other end has gone since the last answer (a supervisor was replaced), or has said more than it was asked."""
        self._sock.setblocking(False)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def connect(run_root: str) -> Connection:
    """A connection on which the keeper has answered; a keeper is started when none is there."""
    return _try_connect(run_root) or _start(run_root)


def _try_connect(run_root: str) -> Connection | None:
    """None when nobody listens; a supervisor that dies under it is waited out."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        sock = _open_socket(keeper_dir(run_root))
        if sock is None:
            return None
        connection = Connection(sock)
        try:
            connection.send("version", {})
            answer = connection.receive(_START_TIMEOUT_S).message
        except (ConnectionLost, DeadlineExceeded) as error:
            connection.close()
            if time.monotonic() > deadline:
                raise Unavailable(f"keeper: it does not answer in {keeper_dir(run_root)}") from error
            time.sleep(_RETRY_PAUSE_S)
            continue
        try:
            _check_version(answer)
        except Unavailable:
            connection.close()
            raise
        return connection


def _open_socket(directory: str) -> socket.socket | None:
    try:
        fd, address = connect_path(directory)
    except FileNotFoundError:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        raise Unavailable(
            f"keeper: connect to {directory}/sock: {os.strerror(error.errno or 0).lower()}"
        ) from error
    finally:
        os.close(fd)
    return sock


def _check_version(answer: dict[str, Any]) -> None:
    """Both sides say the newest and the oldest protocol they speak; one of them must lie in the other's span."""
    theirs = answer["protocol"]
    if theirs < OLDEST_VERSION:
        raise Unavailable(
            f"keeper: it speaks protocol {theirs}, this newer rundlet speaks {OLDEST_VERSION} to {PROTOCOL_VERSION}",
            hint="remove the containers with the rundlet that made them; its keeper then leaves by itself",
        )
    if answer.get("oldest", theirs) > PROTOCOL_VERSION:
        raise Unavailable(
            f"keeper: it speaks protocol {theirs}, this older rundlet speaks {OLDEST_VERSION} to {PROTOCOL_VERSION}",
            hint="use the newer rundlet that started it",
        )


def _start(run_root: str) -> Connection:
    """Start a keeper, or use the one that somebody else started meanwhile."""
    directory = keeper_dir(run_root)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_linked(lock, f"{directory}/lock"):
            return _start(run_root)  # an old keeper left while we waited, and took the directory along
        connection = _try_connect(run_root)
        if connection is None:
            with step("keeper.launch"):
                _launch(run_root)
            connection = _try_connect(run_root)
        if connection is None:
            raise Unavailable(f"keeper: it does not answer in {directory}", hint=f"see {directory}/log")
        return connection
    finally:
        os.close(lock)


def _is_linked(fd: int, path: str) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd))


def _launch(run_root: str) -> None:
    """Start the anchor, detached from this process, and wait until it listens."""
    import subprocess  # 1 MB that most clients never need

    source = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
    read_fd, write_fd = os.pipe()
    try:
        argv = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _BOOTSTRAP,
            "launch",
            _BOOTSTRAP,
            source,
            run_root,
            str(write_fd),
        ]
        starter = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(write_fd,),
            env=environment(),
        )
        os.close(write_fd)
        write_fd = -1
        with open(read_fd, "rb", closefd=False) as ready:
            said = ready.read()
        # The anchor keeps its stderr until it listens, so this ends when it has, or has failed.
        complaint = starter.communicate()[1]
    finally:
        os.close(read_fd)
        if write_fd >= 0:
            os.close(write_fd)
    if said != b"ok":
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unavailable(
            f"keeper: it could not be started: {last or 'it said nothing'}", hint="the keeper needs root"
        )
