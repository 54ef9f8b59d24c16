"""The process of ours that lives in the user's namespaces, for programs that cannot go there themselves.

setns(2) and unshare(2) take only a process with one thread into a user namespace, and who has gone is
root from then on, as os.getuid() and every library have it.  A program that uses rundlet as a library
stays where it is: a child goes, and the program's objects are `rundlet.rootless.remote`s of the child's.

    control     SOCK_SEQPACKET; from the program: a pickle of what the child is to be, then
                "+" with a descriptor for each connection (`remote.Channel`)

The child ends with the control socket, so with the program.
"""

import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from rundlet.errors import Error, Unavailable
from rundlet.rootless.remote import Channel, Pool, Remote, Table

_CONNECT = b"+"
_HELLO_MAX_BYTES = 1 << 17
_END_TIMEOUT_S = 10.0


def own_command(module: str) -> list[str]:
    """This interpreter with what it imports from now; `module`'s `main` gets the control socket's number."""
    begin = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main(int(sys.argv[1]))"
    return [sys.executable, "-c", begin]


class InsideProcess:
    """Started at once; `root` is the object that it serves.  Thread-safe."""

    def __init__(self, command: Sequence[str], hello: object) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            # A terminal's Ctrl-C is for the program, which may still have to clean up by this process.
            self._process = subprocess.Popen(
                [*command, str(fd)],
                pass_fds=(fd,),
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__ and sys.__stderr__.fileno(),
                start_new_session=True,
            )
        self._control.send(pickle.dumps(hello))
        self._pid = os.getpid()
        self.pool = Pool(self._connect)
        self.root = Remote(self.pool, 0, "root")

    def is_ours(self) -> bool:
        """Whether it is still there, and was not started by the process that this one is a fork of."""
        return self._pid == os.getpid() and not self.pool.has_ended and self._process.poll() is None

    def _connect(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            try:
                socket.send_fds(self._control, [_CONNECT], [theirs.fileno()])
            except OSError as error:
                ours.close()
                self.pool.has_ended = True
                raise Unavailable("the process in the user's namespaces has ended") from error
        return ours

    def close(self) -> None:
        """It ends what it does, and itself."""
        self.pool.close()
        self._control.close()
        if self._pid != os.getpid():
            return
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(control_fd: int, make_root: Callable[[Any], Any]) -> None:
    """In the child: what `make_root` makes of the hello is served until the program goes.

    It is called while there is one thread; an Error that it raises is every question's answer.
    """
    logging.captureWarnings(True)
    with socket.socket(fileno=control_fd) as control:
        hello = pickle.loads(control.recv(_HELLO_MAX_BYTES))  # noqa: S301 - from the parent
        try:
            root = make_root(hello)
        except Error as error:
            root = _Refusal(error)
        table = Table(root)
        while True:
            message, fds, _, _ = socket.recv_fds(control, 1, 1)
            if message != _CONNECT:
                break
            channel = Channel(socket.socket(fileno=fds[0]), table)
            threading.Thread(target=channel.serve, name="caller", daemon=True).start()
    root.close()


class _Refusal:
    """In place of what could not be made."""

    def __init__(self, error: Error) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error

    def close(self) -> None:
        pass
