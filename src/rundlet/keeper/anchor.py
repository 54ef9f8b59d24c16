"""The anchor: the part of the keeper that must not fail, so it does next to nothing.

    engine ── starts ──▶ `python -I -S -c …` ── execve through a private mount ──▶ anchor
                                                                                     │ fork
                                                                                 supervisor

It is the child subreaper: when a supervisor dies, its containers become the
anchor's children, so their exit status is not lost.  It holds the listening
socket across supervisors, starts a new one when one dies, and leaves when one
leaves by itself.
"""

import fcntl
import os
import socket
import sys
import time
from typing import NoReturn

from rundlet.keeper.protocol import connect_path, keeper_dir
from rundlet.keeper.supervisor import run_supervisor
from rundlet.kernel import mount, prctl

_BACKLOG = 128
_RESTART_PAUSE_S = 0.2


def enter_private_interpreter(argv: list[str]) -> NoReturn:
    """Run on from a read-only mount of the interpreter that no path leads to.

    A container's first process is this interpreter until execve(2), and what it
    executes can name /proc/self/exe: that must not be a way to write to the
    host's python (CVE-2019-5736).
    """
    executable = os.path.realpath(sys.executable)
    fd = mount.open_tree(executable)
    mount.mount_setattr(fd, set_attrs=mount.MOUNT_ATTR_RDONLY)
    os.execve(fd, [executable, *argv], {"LC_ALL": "C.UTF-8"})


def start_anchor(run_root: str, ready_fd: int) -> NoReturn:
    """Become the keeper of `run_root`; says "ok" on `ready_fd` when it listens.  Never returns."""
    directory = keeper_dir(run_root)
    prctl.set_name("rundlet-keeper")
    prctl.set_child_subreaper()
    _redirect_output(directory)
    listener = _listen(directory)
    os.write(ready_fd, b"ok")
    os.close(ready_fd)
    _supervise(run_root, listener)
    _leave(directory)


def _redirect_output(directory: str) -> None:
    log = os.open(f"{directory}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, fd)
    os.close(log)
    os.close(null)


def _listen(directory: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
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


def _supervise(run_root: str, listener: socket.socket) -> None:
    """Start supervisors until one leaves by itself; hand on what the dead ones left to reap."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    while True:
        pid = os.fork()
        if pid == 0:
            ours.close()
            run_supervisor(run_root, listener, theirs)
        status = _reap_until(pid, ours)
        if status == 0:
            return
        print(
            f"supervisor {pid} ended with wait status {status}; starting another", file=sys.stderr, flush=True
        )
        time.sleep(_RESTART_PAUSE_S)


def _reap_until(supervisor: int, ours: socket.socket) -> int:
    """The supervisor's wait status; every other child's goes to `ours`, where the next supervisor reads it."""
    while True:
        pid, status = os.wait()
        if pid == supervisor:
            return status
        ours.send(b"%d %d %d" % (pid, status, time.time_ns()))


def _leave(directory: str) -> NoReturn:
    """Take the files along; a client that comes now finds no socket and starts a new keeper."""
    lock = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    for name in ("sock", "log", "lock"):
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(directory)
    except OSError:
        pass  # something was put there meanwhile: it stays
    os._exit(0)


def main(argv: list[str]) -> NoReturn:
    """`argv`: stage, bootstrap code, import path, run root, ready descriptor."""
    stage, bootstrap, source, run_root, ready = argv
    if stage == "launch":
        if os.fork():
            os._exit(0)
        os.setsid()
        os.chdir("/")
        enter_private_interpreter(["-I", "-S", "-c", bootstrap, "serve", bootstrap, source, run_root, ready])
    start_anchor(run_root, int(ready))
