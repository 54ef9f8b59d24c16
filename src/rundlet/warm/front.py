"""What `rundlet` runs first: hands the command to a warm process when there is one, else does it itself.

Most of a short command's time is Python that imports (150 of 200 ms).  So a command that has opened this
machine's engine leaves a process behind that has all of it imported; each further command is a fork of
that.  It leaves a minute after the last command.  RUNDLET_WARM=0 does without, RUNDLET_WARM=SECONDS
says how long it stays.

    front ──── stdin, stdout, stderr (SCM_RIGHTS), length u32, body ───▶ warm
          ◀─── "p" pid u32         taken: a child does it
          ◀─── "n"                 not from here: other namespaces, rights, limits or another rundlet
          ◀─── "o"                 outdated: rundlet's files have changed, it leaves
          ◀─── "x" code u8         the child's end, told by itself …
          ◀─── "s" signal u8       … or by the warm process when it was a signal

The body is the number of arguments, the arguments and the environment, with NUL in between.  Numbers are
big endian.  Signals that come to the front are passed on to the child by its pidfd; when the front dies
the child is killed.  Both sides look whether the other belongs to the same user.

This module is the whole start-up time of a command: it imports what the interpreter has anyway.
"""

import _signal
import _socket
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

SOCKET = "warm.sock"
SWITCH = "RUNDLET_WARM"
LINGER_S = 60
_SUN_PATH_MAX_BYTES = 107
STREAMS = (0, 1, 2)
_BOOTSTRAP = "import sys; sys.path[:] = sys.argv[1].split(':'); from rundlet.warm.server import main; main(sys.argv[2:])"
_LOST = "rundlet: the warm process has ended before it told how the command did\n"
_FAILED = 125
# Passwords are asked for at the controlling terminal, which is the front's.
_ALONE = ("login",)
_STOP_KEY = _signal.SIGTSTP
_UNPASSED = (
    _signal.SIGKILL, _signal.SIGSTOP, _signal.SIGCHLD, _signal.SIGPIPE, _signal.SIGTTIN, _signal.SIGTTOU,
    _signal.SIGURG, _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGXFSZ,
)  # fmt: skip


def main() -> None:
    """Do the command of sys.argv; ends the process."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # nothing is there yet that could be undone
    path = find_socket()
    answer = _ask(path) if path and _may_be_lent() else b""
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    _do_it_here(path if answer != b"n" else "")


def find_socket() -> str:
    """Where a warm process listens; "" when there shall be none."""
    if os.environ.get(SWITCH, "1") == "0":
        return ""
    from rundlet.rootless.runroot import find_run_root

    run_root = os.environ.get("RUNDLET_RUN_ROOT") or find_run_root(os.environ, os.geteuid())
    path = f"{os.path.abspath(run_root)}/{SOCKET}"
    return path if len(os.fsencode(path)) <= _SUN_PATH_MAX_BYTES else ""


def _may_be_lent() -> bool:
    """Whether this command needs nothing that only this process has; its streams are open."""
    if any(word in _ALONE for word in sys.argv[1:]):
        return False
    try:
        for fd in STREAMS:
            os.fstat(fd)
        # In the background reading from the terminal stops a process of the terminal's session, no other.
        return not os.isatty(0) or os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _ask(path: str) -> bytes:
    """Have the command done, which ends this process; comes back with the answer, or b"", when it was not."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
        if _peer_uid(sock) != os.geteuid():
            return b"n"
        _send(sock)
        answer = _receive(sock, 1)
        if answer == b"p":
            _follow(sock, int.from_bytes(_receive(sock, 4)))
        return answer
    except OSError:
        return b""
    finally:
        sock.close()


def _peer_uid(sock: _socket.socket) -> int:
    credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)


def _send(sock: _socket.socket) -> None:
    arguments = [os.fsencode(word) for word in sys.argv]
    environment = [b"%s=%s" % item for item in os.environb.items()]
    body = b"\0".join((b"%d" % len(arguments), *arguments, *environment))
    streams = b"".join(fd.to_bytes(4, sys.byteorder) for fd in STREAMS)
    sock.sendmsg([len(body).to_bytes(4)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    sock.sendall(body)


def _receive(sock: _socket.socket, count: int) -> bytes:
    """So many bytes, fewer at the end."""
    data = b""
    while len(data) < count and (more := sock.recv(count - len(data))):
        data += more
    return data


def _follow(sock: _socket.socket, pid: int) -> "NoReturn":
    """Pass signals on until the child has ended; end as it did."""
    _pass_signals(pid)
    how, *number = _receive(sock, 2) or b"?"
    if how == ord("s"):
        _signal.signal(number[0], _signal.SIG_DFL)
        os.kill(os.getpid(), number[0])
    if how != ord("x"):
        os.write(2, _LOST.encode())
    os._exit(number[0] if how == ord("x") else _FAILED)


def _pass_signals(pid: int) -> None:
    try:
        child = os.pidfd_open(pid)
    except OSError:
        return  # it has ended already

    def tell(number: int, _frame: object) -> None:
        try:
            _signal.pidfd_send_signal(child, number)
        except OSError:
            pass  # the end is being told

    def stop(number: int, frame: object) -> None:
        """Both wait in the shell's list of jobs."""
        tell(_signal.SIGSTOP, frame)
        _signal.signal(number, _signal.SIG_DFL)
        os.kill(os.getpid(), number)
        _signal.signal(number, stop)
        tell(_signal.SIGCONT, frame)

    for number in range(1, _signal.SIGSYS + 1):
        if number not in _UNPASSED and _signal.getsignal(number) == _signal.SIG_DFL:
            _signal.signal(number, stop if number == _STOP_KEY else tell)


def _do_it_here(path: str) -> "NoReturn":
    """Without help; what has been imported then stays behind for the next commands."""
    import atexit

    from rundlet.cli.main import main as do_command

    if path:
        atexit.register(_leave_behind, path, set(sys.builtin_module_names))
    do_command()
    raise AssertionError("a command ends its process")


def _leave_behind(path: str, before: "set[str]") -> None:
    """A warm process, after a command that has opened this machine's engine."""
    if "rundlet.engine.engine" not in sys.modules or "grpc" in sys.modules:
        return
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    used = [name for name in sys.modules if name not in before]
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-c", _BOOTSTRAP, ":".join(sys.path), path, *used],
        {name: value for name, value in os.environ.items() if is_read_by_python(name) or name == SWITCH},
        file_actions=[(os.POSIX_SPAWN_DUP2, nothing, fd) for fd in STREAMS],
        setsid=True,
    )


def is_read_by_python(name: str) -> bool:
    """Whether a variable means something to an interpreter that starts."""
    return name.startswith(("PYTHON", "LC_")) or name == "LANG"
