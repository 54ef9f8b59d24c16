"""Waiting for a process in the foreground: its terminal, our signals, its exit code."""

import os
import signal

from rundlet.kernel.prctl import set_child_subreaper
from rundlet.oci.launch import exit_code

# Nothing to pass on: they cannot be caught, concern this process alone, or are handled.
_NOT_FORWARDED = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGPIPE,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL,
}  # fmt: skip


def become_subreaper() -> None:
    """What the container leaves behind becomes ours to reap."""
    set_child_subreaper()


def forward_signals(pidfd: int) -> None:
    """From here on signals to us are signals to the process."""

    def forward(number: int, _frame: object) -> None:
        try:
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            pass

    for number in signal.valid_signals() - _NOT_FORWARDED:
        if number < signal.SIGRTMIN:
            signal.signal(number, forward)


def wait_for(pid: int, pidfd: int, master: int) -> int:
    """The exit code of a child, its terminal served until then; `master` is -1 without one."""
    if master < 0:
        return exit_code(os.waitpid(pid, 0)[1])
    import select

    from rundlet.oci.console import Proxy

    proxy = Proxy(master)
    try:
        while True:
            ready, _, _ = select.select([pidfd, *proxy.fds()], [], [])
            for fd in ready:
                if fd != pidfd:
                    proxy.pump(fd)
            if pidfd in ready:
                proxy.drain()
                return exit_code(os.waitpid(pid, 0)[1])
    finally:
        proxy.restore()
