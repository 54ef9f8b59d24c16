"""What a new process says on its report socket, as its parent hears it (drawn in `rundlet.runtime.init`)."""

import json
import socket
from typing import NamedTuple

from rundlet.errors import Error, from_code

_REPORT_MAX_BYTES = 1 << 16


class Report(NamedTuple):
    """`kind` and what comes with it:

    child    `pid` and `fd`, the first process's pidfd: the one that was cloned is only its helper, and ends
    hooks    the prestart and createRuntime hooks are to be run, then `let_go_on`
    ready    `fd`, the terminal's master, or -1; `steps`, when the plan asks for their times
    error    `error`: the process ends
    end      the socket has closed: the program runs, or the process has died
    """

    kind: str
    error: Error | None = None
    fd: int = -1
    pid: int = 0
    steps: tuple[tuple[str, int, int], ...] = ()


def receive_report(report: socket.socket) -> Report:
    """The next one; blocks as the socket does."""
    raw, fds, _, _ = socket.recv_fds(report, _REPORT_MAX_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    if not raw:
        return Report("end")
    message = json.loads(raw)
    fd = fds[0] if fds else -1
    if "error" in message:
        return Report("error", from_code(*message["error"]))
    if "child" in message:
        return Report("child", None, fd, message["child"])
    kind = "hooks" if "hooks" in message else "ready"
    return Report(kind, None, fd, steps=tuple(message.get("steps", ())))


def let_go_on(report: socket.socket) -> None:
    """The hooks have run; a process that has died meanwhile says so by the end of its socket."""
    try:
        report.send(b'{"go": true}', socket.MSG_NOSIGNAL)
    except OSError:
        pass
