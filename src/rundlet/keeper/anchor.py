"""The anchor: the part of the keeper that must not fail, so it does next to nothing.

    engine ── starts ──▶ `python -I -S -c …` ── execve through a private mount ──▶ anchor
                                                                                     │ fork
                                                                                 supervisor

It is the child subreaper: when a supervisor dies, its containers become the
anchor's children, so their exit status is not lost.  It holds the listening
socket and what else must live on (`rundlet.keeper.link`), starts a new supervisor
when one dies, and leaves when one leaves by itself.

When the anchor itself dies, the supervisor takes its place with all that it has
open, and forks a supervisor: nobody else can come in between, because it listens.
When both die, the next client starts a keeper that finds the containers' files.

It has few modules of its own, and C ones where there is a choice: a supervisor imports the rest
after the fork, so that not everything is there twice.
"""

import _signal
import _socket
import gc
import os
import select
import sys
import time

from rundlet.keeper.hold import Store, SupervisorLink
from rundlet.keeper.place import connect_path, keeper_dir
from rundlet.rootless.members import forget_member, note_keeper
from rundlet.step import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_BACKLOG = 128
_SHORT_LIFE_S = 1.0
_RESTART_PAUSE_S = 0.1


def start_anchor(run_root: str, ready_fd: int) -> "NoReturn":
    """Become the keeper of `run_root`; says "ok" on `ready_fd` when it listens.  Never returns."""
    directory = keeper_dir(run_root)
    with open("/proc/self/comm", "wb") as comm:
        comm.write(b"rundlet-keeper")
    _redirect_output(directory)
    note_keeper(run_root)
    with step("anchor.listen"):
        listener = _listen(directory)
    with step("anchor.ready"):
        os.write(ready_fd, b"ok")
    os.close(ready_fd)
    _supervise(run_root, listener)
    forget_member(run_root, os.getpid())
    _leave(directory)


def _redirect_output(directory: str) -> None:
    log = os.open(f"{directory}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, fd)
    os.close(log)
    os.close(null)


def _listen(directory: str) -> _socket.socket:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    fd, address = connect_path(directory)
    try:
        os.unlink(f"{directory}/sock")
    except FileNotFoundError:
        pass
    old = os.umask(0o177)
    listener.bind(address)
    os.umask(old)
    os.close(fd)
    listener.listen(_BACKLOG)
    return listener


def _supervise(run_root: str, listener: _socket.socket) -> None:
    """Start supervisors until one leaves by itself."""
    anchor = Anchor({})
    gc.collect()
    gc.freeze()  # a collection would write to every object, and so to every page that the two share
    while True:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        born = time.monotonic()
        pid = os.fork()
        if pid == 0:
            ours.close()
            anchor.close()
            anchor = Anchor(_become_supervisor(run_root, listener, theirs, anchor.store))
            continue
        theirs.close()
        status = anchor.serve(pid, ours)
        if status == 0:
            return
        print(
            f"supervisor {pid} ended with wait status {status}; starting another", file=sys.stderr, flush=True
        )
        if time.monotonic() - born < _SHORT_LIFE_S:
            time.sleep(_RESTART_PAUSE_S)


def _become_supervisor(
    run_root: str, listener: _socket.socket, anchor: _socket.socket, store: Store
) -> Store:
    """Comes back, with what must be held, only when the anchor has died: this process is to be the anchor then."""
    from rundlet import lean

    note_keeper(run_root)
    lean.install()
    from rundlet.keeper.supervisor import run_supervisor
    from rundlet.kernel import prctl

    store = run_supervisor(run_root, listener, anchor, store)
    prctl.set_child_subreaper()
    return store


class Anchor:
    """Reaps what dead supervisors left, and holds `store`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._ended: dict[int, bytes] = {}  # what no supervisor has written down yet, by pid
        self._wake, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        _signal.signal(_signal.SIGCHLD, lambda *_: None)

    def close(self) -> None:
        """In a supervisor: it has no part in this."""
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        _signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._wake_write)

    def serve(self, supervisor: int, sock: _socket.socket) -> int:
        """Until the supervisor has ended: its wait status."""
        link = SupervisorLink(sock, self.store)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(link.fileno(), select.POLLIN)
        for message in self._ended.values():
            link.send(message)
        status = self._reap(supervisor, link)
        while status is None:
            ready = [fd for fd, _ in poll.poll()]
            if self._wake in ready:
                os.read(self._wake, 4096)
            status = self._reap(supervisor, link)
            if link.fileno() in ready:
                self._hear(link)
        while self._hear(link):
            pass  # what the dead one had still said
        link.close()
        return status

    def _reap(self, supervisor: int, link: SupervisorLink) -> int | None:
        """The supervisor's wait status when it has ended; every other child's is told and remembered."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 0
            if not pid:
                return None
            if pid == supervisor:
                return status
            self._ended[pid] = b"exit %d %d %d" % (pid, status, time.time_ns())
            link.send(self._ended[pid])

    def _hear(self, link: SupervisorLink) -> bool:
        """One packet; False when there was none."""
        verb = link.receive()
        for pid in link.done:
            self._ended.pop(pid, None)
        link.done.clear()
        if verb == "sync":
            for message in self._ended.values():
                link.send(message)
            link.send(b"synced")
        return verb is not None


def _leave(directory: str) -> "NoReturn":
    """Take the files along; a client that comes now finds no socket and starts a new keeper."""
    import fcntl

    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for name in ("sock", "journal", "log", "lock"):
        try:
            with step(f"anchor.remove-{name}"):
                os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(directory)
    except OSError:
        pass  # something was put there meanwhile: it stays
    os._exit(0)


def main(argv: list[str]) -> "NoReturn":
    """`argv`: stage, bootstrap code, import path, run root, ready descriptor."""
    stage, bootstrap, source, run_root, ready = argv
    if stage == "launch":
        if os.fork():
            os._exit(0)
        from rundlet.keeper.interpreter import enter_private_interpreter

        os.setsid()
        os.chdir("/")
        enter_private_interpreter(["-I", "-S", "-c", bootstrap, "serve", bootstrap, source, run_root, ready])
    start_anchor(run_root, int(ready))
