"""The nursery: a process that only clones, so that the supervisor never does.

After a fork every page that parent or child writes to is copied, and Python writes to
what it only reads (reference counts).  A supervisor that forks pays for that twice a
container: 480 page faults of its own, and a child as large as itself.  The nursery has
next to nothing to do between two clones, so it loses few pages; it works on the other
core while the supervisor makes cgroup and files; and it can work ahead: a newborn with
namespaces of its own waits until somebody has work for it.

    supervisor                              nursery                    newborn
    ----------                              -------                    -------
    "FLAGS [ahead] [cgroup] [pid]"  (fds) ▶ clone3 (CLONE_PARENT) ───▶ waits (`rundlet.keeper.newborn`)
                            ◀─────── "PID"  (fds: pidfd, its socket)
                            ◀─────── "errno NUMBER"

`ahead` says that there is no work for it yet; `cgroup` is the version 2 group to be born into,
`pid` a pidfd or a PID namespace to be born into.  The newborn is the supervisor's child from the start.  A mount namespace is never among
the FLAGS: one made ahead would miss what the host has mounted since.

The nursery leaves when the supervisor has gone, and when nothing was started for a while: its memory is
the price of speed.
"""

import gc
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from rundlet.errors import Internal
from rundlet.keeper.loop import Loop
from rundlet.keeper.newborn import Work, be_newborn, give_work
from rundlet.keeper.strays import reap
from rundlet.kernel import namespace, prctl
from rundlet.kernel.clone import clone
from rundlet.runtime.init import Machine

_ORDER_MAX_BYTES = 64
_FDS_MAX = 2
_SPARES_MAX = 2
_ATTEMPTS = 3


class _Lost(Internal):
    """The nursery was killed with an order in hand."""


class Newborn(NamedTuple):
    """A process without work yet; `sock` leads to it."""

    pid: int
    pidfd: int
    sock: socket.socket


class Nursery:
    """The supervisor's side: newborns on order, and a few that wait for work.

    Only those without special wishes are made ahead, by the CLONE_NEW* flags they have.
    `on_end` is called when the process has gone: there may be a newborn that it did not live to tell of.
    """

    def __init__(self, loop: Loop, machine: Machine, on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._on_end = on_end
        self._machine = machine
        self._returns = not namespace.in_user_namespace()
        self._sock: socket.socket | None = None
        self._ordered: list[int] = []  # flags, answered in this order
        self._spares: dict[int, Newborn] = {}

    def order(self, flags: int, *, ahead: bool = False) -> None:
        """Have a newborn made, unless one waits or is under way; returns at once.

        `ahead`: nobody has work for it yet.
        """
        if flags not in self._spares and flags not in self._ordered:
            self._send(flags, ahead=ahead)
            self._ordered.append(flags)

    def employ(self, flags: int, work: Work, request: bytes, fds: Sequence[int]) -> Newborn:
        """A newborn with work to do; one that has died while it waited is replaced."""
        for _ in range(_ATTEMPTS):
            newborn = self._take(flags)
            try:
                give_work(newborn.sock, work, request, fds)
            except OSError as error:
                self.bury(newborn)
                failure = error
            else:
                return newborn
        raise failure

    def employ_in(
        self, flags: int, cgroup_fd: int, pid_fd: int, work: Work, request: bytes, fds: Sequence[int]
    ) -> Newborn:
        """The same, born into a cgroup or a PID namespace (-1: the usual ones)."""
        self._receive_all()
        self._send(flags, cgroup_fd, pid_fd)
        newborn = self._hear()
        if pid_fd >= 0 and not self._returns:
            self._forget()  # it has left
        give_work(newborn.sock, work, request, fds)
        return newborn

    def _take(self, flags: int) -> Newborn:
        """One of the spares, which the answer to an order becomes first."""
        for _ in range(_ATTEMPTS):
            self.order(flags)
            self._receive_all()
            if flags in self._spares:
                return self._spares.pop(flags)
        raise _Lost("keeper: the process that makes processes dies again and again")

    def _receive_all(self) -> None:
        """What was ordered, as far as the nursery lived to make it."""
        try:
            while self._ordered:
                self._receive()
        except _Lost:
            pass

    def _receive(self) -> None:
        """The answer to the oldest order becomes a spare."""
        newborn = self._hear()
        flags = self._ordered.pop(0)
        while len(self._spares) >= _SPARES_MAX:
            self.bury(self._spares.pop(next(iter(self._spares))))
        self._spares[flags] = newborn

    # -- the wire ---------------------------------------------------------------

    def _send(self, flags: int, cgroup_fd: int = -1, pid_fd: int = -1, *, ahead: bool = False) -> None:
        given = {name: fd for name, fd in (("cgroup", cgroup_fd), ("pid", pid_fd)) if fd >= 0}
        order = " ".join((str(flags), *(["ahead"] if ahead else []), *given)).encode()
        fds = list(given.values())
        try:
            socket.send_fds(self._open(), [order], fds)
        except OSError:  # it was killed
            self._forget()
            socket.send_fds(self._open(), [order], fds)

    def _hear(self) -> Newborn:
        """OSError as clone3(2) has it."""
        words, fds = _receive_words(self._open())
        if not words:
            self._forget()
            raise _Lost("keeper: the process that makes processes has died", hint="try again")
        if words[0] == b"errno":
            self._ordered[:1] = []
            number = int(words[1])
            raise OSError(number, f"clone3: {os.strerror(number)}")
        pidfd, sock = fds
        return Newborn(int(words[0]), pidfd, socket.socket(fileno=sock))

    def _open(self) -> socket.socket:
        """The way to the nursery, which is made when there is none."""
        if self._sock is None:
            self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            child = clone()
            if child.pid == 0:
                run_nursery(theirs, self._machine)
            theirs.close()
            self._reap_later(child.pid, child.pidfd, self._on_end)
        return self._sock

    # -- the end ----------------------------------------------------------------

    def rest(self) -> None:
        """Nothing was started for a while: all of it leaves."""
        try:
            self._receive_all()
        except OSError:
            pass  # it leaves anyway
        for newborn in self._spares.values():
            self.bury(newborn)
        self._spares.clear()
        self._forget()

    def _forget(self) -> None:
        self._ordered.clear()
        if self._sock is not None:
            self._sock.close()  # newborns on their way see the end of their sockets, and leave
            self._sock = None

    def bury(self, newborn: Newborn) -> None:
        """Let go of one that has died, or will when it sees the end of its socket."""
        newborn.sock.close()
        self._reap_later(newborn.pid, newborn.pidfd)

    def _reap_later(self, pid: int, pidfd: int, then: Callable[[], None] = lambda: None) -> None:
        def on_end() -> None:
            self._loop.remove(pidfd)
            os.close(pidfd)
            reap(pid)
            then()

        self._loop.add(pidfd, on_end)

    def close(self) -> None:
        """In a supervisor that becomes the anchor: what it had is reaped there."""
        for newborn in self._spares.values():
            newborn.sock.close()
            os.close(newborn.pidfd)
        self._spares.clear()
        self._forget()


def _receive_words(sock: socket.socket) -> tuple[list[bytes], list[int]]:
    """An answer and its descriptors; nothing when the nursery has died, with an order unread perhaps."""
    try:
        raw, fds, _, _ = socket.recv_fds(sock, _ORDER_MAX_BYTES, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return [], []
    return raw.split(), fds


def run_nursery(sock: socket.socket, machine: Machine) -> NoReturn:
    """The nursery's process."""
    from rundlet.runtime.anteroom import make_anteroom  # what the supervisor has no use for

    try:
        prctl.close_all_but({0, 1, 2, sock.fileno()})
        gc.disable()
        home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        anteroom = make_anteroom()
        while True:
            raw, fds, _, _ = socket.recv_fds(sock, _ORDER_MAX_BYTES, _FDS_MAX, socket.MSG_CMSG_CLOEXEC)
            if not raw:
                break
            flags, *words = raw.decode().split()
            ahead = "ahead" in words
            given = dict(zip(words[ahead:], fds, strict=True))
            _serve(sock, int(flags), given, home, anteroom, machine, ahead=ahead)
    except Exception as error:  # the supervisor sees its end, and makes another
        print(f"nursery: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(0)


def _return_home(home: int) -> None:
    """To the host's PID namespace, where an ordinary user's nursery may not go: it leaves, and another is made."""
    try:
        namespace.setns(home, namespace.CLONE_NEWPID)
    except PermissionError:
        os._exit(0)


def _serve(
    sock: socket.socket,
    flags: int,
    given: dict[str, int],
    home: int,
    anteroom: int,
    machine: Machine,
    *,
    ahead: bool,
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if "pid" in given:
            namespace.setns(given["pid"], namespace.CLONE_NEWPID)
        child = clone(flags, given.get("cgroup", -1), sibling=True)
        if child.pid == 0:
            be_newborn(theirs, machine, anteroom, ahead=ahead)
        socket.send_fds(sock, [b"%d" % child.pid], [child.pidfd, ours.fileno()])
        os.close(child.pidfd)
    except OSError as error:
        sock.send(b"errno %d" % (error.errno or 0))
    finally:
        if "pid" in given:
            _return_home(home)
        ours.close()
        theirs.close()
        for fd in given.values():
            os.close(fd)
