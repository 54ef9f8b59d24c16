"""Short stays in a pod's namespaces, to make there what belongs to them for ever: sockets, settings.

The supervisor has one thread, so it can go itself and come back: nothing else is caught in between.
An ordinary user's cannot come back: the namespaces that it began in belong to the host, so there a
child goes, and hands back by SCM_RIGHTS what it opened.
"""

import os
import socket
from collections.abc import Callable, Sequence
from typing import NoReturn

from rundlet.errors import Error, FailedPrecondition, from_code
from rundlet.kernel import namespace
from rundlet.kernel.clone import clone
from rundlet.step import step

_ANSWER_MAX_BYTES = 1024
_FDS_MAX = 4
_KINDS = ("net", "ipc", "uts")

Work = Callable[[], Sequence[int]]
"""What is done there; the descriptors that it has opened."""


class Visits:
    """Of one supervisor, which is at home now."""

    def __init__(self) -> None:
        self.can_return = not namespace.in_user_namespace()
        self._home = {kind: os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in _KINDS}

    def pay(self, kinds: Sequence[str], enter: Callable[[], None], work: Work) -> list[int]:
        """`enter` leads into namespaces of these kinds; what `work` opened there.

        Errors of either are raised here, OSError as FailedPrecondition.
        """
        if not self.can_return:
            return _send_child(enter, work)
        try:
            enter()
            return list(work())
        except OSError as error:
            raise FailedPrecondition(f"pod namespaces: {error}") from error
        finally:
            self._return_home(kinds)

    def _return_home(self, kinds: Sequence[str]) -> None:
        """A supervisor that cannot get back must not go on: it would start containers in a pod's network."""
        try:
            for kind in kinds:
                namespace.setns(self._home[kind])
        except OSError:
            os._exit(70)

    def close(self) -> None:
        for fd in self._home.values():
            os.close(fd)


def _send_child(enter: Callable[[], None], work: Work) -> list[int]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with step("keeper.visit"):
        child = clone()
    if child.pid == 0:
        _go(theirs, enter, work)
    theirs.close()
    with ours:
        answer, fds, _, _ = socket.recv_fds(ours, _ANSWER_MAX_BYTES, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    os.close(child.pidfd)
    os.waitpid(child.pid, 0)
    if answer == b"ok":
        return fds
    code, _, message = answer.decode(errors="replace").partition(" ")
    raise from_code(code, message) if message else FailedPrecondition("pod namespaces: the visitor died")


def _go(answer: socket.socket, enter: Callable[[], None], work: Work) -> NoReturn:
    try:
        enter()
        socket.send_fds(answer, [b"ok"], work())
    except Error as error:
        _tell(answer, error)
    except OSError as error:
        _tell(answer, FailedPrecondition(f"pod namespaces: {error}"))
    finally:
        os._exit(0)


def _tell(answer: socket.socket, error: Error) -> None:
    answer.send(f"{error.code} {error.message}".encode()[:_ANSWER_MAX_BYTES])
