"""A process between its birth in the nursery and the work it is given.

    supervisor                                              newborn
    ----------                                              -------
    {"join": […], "unshare": flags}, a line break,
    the request as it came                (fds) ──────────▶ becomes what the request says
        create   fds: the start gate, stdin, stdout, stderr
        exec     fds: the container's pidfd, stdin, stdout, stderr

From here on `rundlet.runtime.init` draws it; the same socket carries the reports.
A newborn that sees the end of its socket instead leaves: its supervisor has gone, or
has no use for it.
"""

import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from rundlet.errors import InvalidArgument
from rundlet.keeper.protocol import receive_raw, send_raw
from rundlet.kernel.madvise import own_memory
from rundlet.plan.container import decode_plan
from rundlet.plan.process import decode_process
from rundlet.plan.steps import JoinCgroup, Step, Unshare
from rundlet.runtime.init import Machine, Origin, Stdio, be_first, be_further, detach, live


class Work(NamedTuple):
    """What there is to do before the request: `tasks` files to write "0" to, namespaces to make by kind."""

    join: tuple[str, ...] = ()
    unshare: tuple[str, ...] = ()

    def steps(self) -> tuple[Step, ...]:
        return (JoinCgroup(self.join), *map(Unshare, self.unshare))


def give_work(sock: socket.socket, work: Work, request: bytes, fds: Sequence[int]) -> None:
    """To a newborn; OSError (EPIPE, ECONNRESET) when it has died."""
    head = json.dumps(work, separators=(",", ":")).encode()
    send_raw(sock, head + b"\n" + request, tuple(fds))


def be_newborn(report: socket.socket, machine: Machine, anteroom: int, *, ahead: bool) -> NoReturn:
    """Detach, wait for work, do it.  Never returns.  One made ahead of time has time to prepare.

    `anteroom` is the descriptor that `rundlet.runtime.anteroom` speaks of, or -1.
    """

    def life() -> None:
        detach({report.fileno(), anteroom})
        if ahead:
            own_memory()  # 1.5 ms less when work comes
        raw, fds = receive_raw(report)
        if not raw:
            os._exit(0)
        head, _, request = raw.partition(b"\n")
        _do(Work(*map(tuple, json.loads(head))), json.loads(request)["args"], fds, report, machine, anteroom)

    live(life, report, "a new process")


def _do(
    work: Work, args: dict[str, Any], fds: list[int], report: socket.socket, machine: Machine, anteroom: int
) -> NoReturn:
    from rundlet.runtime.anteroom import fits  # the nursery has it, and nobody else needs it

    gate_or_pidfd, *stdio = fds
    origin = Origin(work.steps(), machine, Stdio(*stdio), report)
    try:
        if "plan" in args:
            plan = decode_plan(args["plan"])
            what = f"container {plan.container_id}"
            if anteroom >= 0 and work.unshare and fits(plan):
                origin = origin._replace(arrival=work._replace(unshare=()).steps(), anteroom=anteroom)
            become: Callable[[], None] = lambda: be_first(plan, origin, gate_or_pidfd)  # noqa: E731
        else:
            process = decode_process(args["process"])
            what = "exec"
            become = lambda: be_further(process, origin, gate_or_pidfd)  # noqa: E731
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"keeper: bad request: {error!r}") from error
    live(become, report, what)
