"""Further processes in running containers.

The caller brings the descriptors, so the keeper is not in the way of the data;
it answers when the program runs, and once more when it has ended.
"""

import os
import time

from rundlet.errors import FailedPrecondition, NotFound
from rundlet.keeper.container import Container
from rundlet.keeper.launch import Launcher, Pending
from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import ExitRecord
from rundlet.keeper.server import Request
from rundlet.plan.process import decode_process

_STDIO = ("stdin", "stdout", "stderr")


class Exec:
    """One process; it leads a session of its own, so it can be killed with what it started."""

    def __init__(
        self, exec_id: str, container_id: str, pid: int, pidfd: int, pending: Pending, request: Request
    ) -> None:
        self.id = exec_id
        self.container_id = container_id
        self.pid = pid
        self.pidfd = pidfd
        self.pending: Pending | None = pending
        self.request = request
        self.terminal_fd = -1


class Execs:
    """Those that have not ended."""

    def __init__(self, loop: Loop, launcher: Launcher) -> None:
        self._loop = loop
        self._launcher = launcher
        self._running: dict[str, Exec] = {}
        self._count = 0

    def start(self, container: Container, request: Request) -> None:
        plan = decode_process(request.args["process"])
        given = list(request.fds)
        fds = [given.pop(0) if request.args[name] else -1 for name in _STDIO]
        child, pending = self._launcher.start_exec(container, plan, fds)
        self._count += 1
        exec_id = f"{os.getpid()}-{self._count}"
        item = Exec(exec_id, container.id, child.pid, child.pidfd, pending, request)
        self._running[exec_id] = item
        self._loop.add(pending.report.fileno(), lambda: self._on_report(item))
        self._loop.add(child.pidfd, lambda: self._on_exit(item))

    def _on_report(self, item: Exec) -> None:
        pending = item.pending
        if pending is None:
            return
        report = pending.receive()
        if report.kind == "error":
            pending.error = report.error
            return
        if report.kind == "ready":
            item.terminal_fd = report.terminal_fd
            return
        self._loop.remove(pending.report.fileno())
        pending.report.close()
        item.pending = None
        if pending.error is not None:
            item.request.fail(pending.error)
        else:
            fds = (item.terminal_fd,) if item.terminal_fd >= 0 else ()
            item.request.answer({"exec_id": item.id, "pid": item.pid}, fds)
        if item.terminal_fd >= 0:
            os.close(item.terminal_fd)
            item.terminal_fd = -1

    def _on_exit(self, item: Exec) -> None:
        while item.pending is not None:
            self._on_report(item)
        self._loop.remove(item.pidfd)
        _, wait_status = os.waitpid(item.pid, 0)
        os.close(item.pidfd)
        del self._running[item.id]
        code = os.waitstatus_to_exitcode(wait_status)
        number = max(0, -code)
        record = ExitRecord(
            item.container_id, item.id, 128 + number if number else code, number, False, time.time_ns()
        )
        item.request.answer({"exit": record})

    def send_signal(self, exec_id: str, number: int) -> None:
        """To the process and all of its session's first process group; NotFound when it has ended."""
        item = self._running.get(exec_id)
        if item is None:
            raise NotFound(f"exec {exec_id} has ended or never was")
        if item.pending is not None:
            raise FailedPrecondition(f"exec {exec_id} has not started its program yet")
        try:
            os.killpg(item.pid, number)
        except ProcessLookupError:
            pass
