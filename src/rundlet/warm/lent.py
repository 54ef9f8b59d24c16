"""The child of a warm process that becomes the command which a front has brought."""

import atexit
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from rundlet.cli.main import perform
from rundlet.warm.front import STREAMS, is_read_by_python
from rundlet.warm.surroundings import are_same, read_status

_PATIENCE_S = 5.0
_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("iII")  # struct ucred, unix(7)
_BODY_MAX_BYTES = 16 << 20
# Python ignores them in every program.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Request(NamedTuple):
    """What the front sent; `streams` are its descriptors 0, 1 and 2, `status` its /proc/PID/status."""

    pid: int
    status: dict[str, str]
    streams: list[int]
    argv: list[bytes]
    environment: dict[bytes, bytes]


def serve(front: socket.socket, known: frozenset[str], news_fd: int) -> NoReturn:
    """Do the command and end; what was imported beside the `known` modules goes to `news_fd`."""
    try:
        front.settimeout(_PATIENCE_S)
        request = _receive(front)
        if request is None or not _may_become(request):
            front.send(b"n")
            os._exit(0)
        _become(request)
        front.send(b"p" + _LENGTH.pack(os.getpid()))
    except OSError:
        os._exit(1)  # the front has gone, or does it itself
    code = _run()
    _report(known, news_fd)
    try:
        front.send(b"x" + bytes((code & 0xFF,)))  # it need not wait until all memory is given back
    except OSError:
        pass
    os._exit(code & 0xFF)


def _receive(front: socket.socket) -> Request | None:
    """None when it is another user's, or not understood."""
    pid, uid, _ = _CREDENTIALS.unpack(
        front.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    if uid != os.geteuid():
        return None
    head, streams, _, _ = socket.recv_fds(front, _LENGTH.size, len(STREAMS), socket.MSG_CMSG_CLOEXEC)
    if len(head) != _LENGTH.size or len(streams) != len(STREAMS):
        return None
    body = _receive_all(front, min(_LENGTH.unpack(head)[0], _BODY_MAX_BYTES))
    count, *words = body.split(b"\0")
    argv, variables = words[: int(count)], words[int(count) :]
    environment = {name: value for name, _, value in (item.partition(b"=") for item in variables)}
    return Request(pid, read_status(pid), streams, argv, environment)


def _receive_all(front: socket.socket, size: int) -> bytes:
    body = bytearray()
    while len(body) < size:
        more = front.recv(size - len(body))
        if not more:
            raise ConnectionResetError
        body += more
    return bytes(body)


def _may_become(request: Request) -> bool:
    """Whether the same command begun by the front itself would do the same."""
    return _interpreter_variables(request.environment) == _interpreter_variables(os.environb) and are_same(
        request.pid, request.status
    )


def _interpreter_variables(environment: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in environment.items() if is_read_by_python(os.fsdecode(name))}


def _become(request: Request) -> None:
    """Take over all that a process has of whoever started it."""
    os.chdir(f"/proc/{request.pid}/cwd")
    os.umask(int(request.status["Umask"], 8))
    for number, fd in enumerate(request.streams):
        os.dup2(fd, number)
        os.close(fd)
    _take_signals(int(request.status["SigIgn"], 16), int(request.status["SigBlk"], 16))
    os.environb.clear()
    os.environb.update(request.environment)
    time.tzset()
    sys.argv = [os.fsdecode(word) for word in request.argv]
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=os.isatty(1))
    with open("/proc/self/comm", "wb") as comm:
        comm.write(b"rundlet")


def _take_signals(ignored: int, blocked: int) -> None:
    """Bit 0 of each mask is signal 1."""
    for number in _numbers_in(ignored).difference(_IGNORED_BY_PYTHON):
        signal.signal(number, signal.SIG_IGN)
    if blocked:
        signal.pthread_sigmask(signal.SIG_SETMASK, _numbers_in(blocked))


def _numbers_in(mask: int) -> set[int]:
    return {number for number in range(1, signal.NSIG) if mask >> (number - 1) & 1}


def _report(known: frozenset[str], news_fd: int) -> None:
    """Whoever has threads below Python's cannot be forked: what uses gRPC is not taken over."""
    if "grpc" not in sys.modules:
        news = " ".join(name for name in sys.modules if name not in known)
        os.write(news_fd, news.encode())


def _run() -> int:
    """As the interpreter runs a program and ends; the exit code."""
    code: int | str | None
    try:
        code = perform()
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        code = 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 - the last one who could tell
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else bool(code)
