"""Further processes in running containers.

The caller brings the descriptors, so the keeper is not in the way of the data;
it answers when the program runs, and once more when it has ended.  An end that the
caller did not live to hear, or that happened while there was no supervisor, is kept
in a file of the container until somebody asks, for the newest KEPT_MAX of them:

    containers/ID/exec-EXECID    {"pid": …, "start_time": …}, then {"exit": […]}
"""

import os
import time
from collections.abc import Callable
from typing import Any

from rundlet.errors import FailedPrecondition, NotFound
from rundlet.keeper.container import UNKNOWN_EXIT_CODE, Container
from rundlet.keeper.core import Core
from rundlet.keeper.files import read_json, write_json
from rundlet.keeper.hold import Store
from rundlet.keeper.identity import (
    find_wait_status,
    open_process,
    peek_wait_status,
    read_start_time,
    split_status,
)
from rundlet.keeper.launch import Launcher, Pending
from rundlet.keeper.link import Ended
from rundlet.keeper.protocol import ExitRecord
from rundlet.keeper.server import Request
from rundlet.kernel.clone import Cloned
from rundlet.step import step

KEPT_MAX = 32
_PREFIX = "exec-"
Deliver = Callable[[int], None]


class Exec:
    """One process; it leads a session of its own, so it can be killed with what it started.

    `adopted`: an earlier supervisor made it.  `requests` wait for its end.
    """

    def __init__(self, exec_id: str, container: Container, pid: int, pidfd: int, *, adopted: bool) -> None:
        self.id = exec_id
        self.container = container
        self.pid = pid
        self.pidfd = pidfd
        self.adopted = adopted
        self.pending: Pending | None = None
        self.requests: list[Request] = []
        self.terminal_fd = -1
        self.deliver: Deliver | None = None

    @property
    def name(self) -> str:
        return f"{_PREFIX}{self.id}"

    @property
    def path(self) -> str:
        return f"{self.container.directory}/{self.name}"

    def close_terminal(self) -> None:
        if self.terminal_fd >= 0:
            os.close(self.terminal_fd)
        self.terminal_fd = -1


class Execs:
    """Those that have not ended."""

    def __init__(self, core: Core, launcher: Launcher) -> None:
        self._core = core
        self._launcher = launcher
        self._running: dict[str, Exec] = {}
        self._count = 0

    # -- start ------------------------------------------------------------------

    def serve_exec(self, request: Request) -> None:
        container = self._core.find(request)
        if container.status != "running" or container.pidfd < 0:
            raise FailedPrecondition(
                f"container {container.id} is {container.status}: exec needs a running one"
            )
        with step("keeper.exec"):
            child = self._launcher.start_exec(container, request)
        try:
            item = self._new_exec(container, Cloned(child.pid, child.pidfd), request)
        except OSError:
            self._launcher.abandon(child)
            raise
        item.pending = pending = Pending(child.sock)
        self._core.loop.add(pending.report.fileno(), lambda: self._on_report(item))
        self._watch(item)

    def _new_exec(self, container: Container, child: Cloned, request: Request) -> Exec:
        self._count += 1
        item = Exec(f"{os.getpid()}-{self._count}", container, child.pid, child.pidfd, adopted=False)
        item.requests.append(request)
        with step("keeper.note-exec"):
            write_json(item.path, {"pid": item.pid, "start_time": read_start_time(item.pid)})
        return item

    def take_over(
        self, container: Container, child: Cloned, request: Request, terminal_fd: int, deliver: Deliver | None
    ) -> str:
        """A process that a runtime has started: its id.  It is answered for like those of an earlier supervisor.

        With `deliver` signals go that way; a pidfd of -1 says that it has been reaped already.
        """
        item = self._new_exec(container, child, request)
        item.adopted = True
        item.deliver = deliver
        request.answer({"exec_id": item.id, "pid": item.pid}, (terminal_fd,) if terminal_fd >= 0 else ())
        self._running[item.id] = item
        if item.pidfd >= 0:
            self._watch(item)
        return item.id

    def end_unseen(self, exec_id: str, wait_status: int | None, finished_at_ns: int) -> None:
        """It had ended before it was taken over."""
        self._finish(self._running[exec_id], wait_status, finished_at_ns)

    def _watch(self, item: Exec) -> None:
        self._running[item.id] = item
        self._core.loop.add(item.pidfd, lambda: self._on_exit(item))

    def _on_report(self, item: Exec) -> None:
        pending = item.pending
        if pending is None:
            return
        report = pending.receive()
        if report.kind == "error":
            pending.error = report.error
        elif report.kind == "ready":
            item.terminal_fd = report.fd
        else:
            self._end_pending(item, pending)

    def _end_pending(self, item: Exec, pending: Pending) -> None:
        """The report socket has closed: by execve(2), or because the process died."""
        self._core.loop.remove(pending.report.fileno())
        pending.report.close()
        item.pending = None
        for request in item.requests:
            if pending.error is not None:
                request.fail(pending.error)
            else:
                fds = (item.terminal_fd,) if item.terminal_fd >= 0 else ()
                request.answer({"exec_id": item.id, "pid": item.pid}, fds)
        if pending.error is not None:
            item.requests.clear()
        item.close_terminal()

    # -- end --------------------------------------------------------------------

    def _on_exit(self, item: Exec) -> None:
        while item.pending is not None:
            self._on_report(item)
        self._core.loop.remove(item.pidfd)
        if not item.adopted:
            self._finish(item, peek_wait_status(item.pid), time.time_ns())
            os.waitpid(item.pid, 0)
            return
        status = find_wait_status(item.pid, item.pidfd)
        if status is None:
            self.take_exits(self._core.anchor.sync())
        if item.id in self._running:
            self._finish(item, status, time.time_ns())

    def take_exits(self, exits: list[Ended]) -> None:
        """What the anchor has reaped."""
        for ended in exits:
            for item in list(self._running.values()):
                if item.adopted and item.pid == ended.pid:
                    self._finish(item, ended.wait_status, ended.finished_at_ns)

    def _finish(self, item: Exec, wait_status: int | None, finished_at_ns: int) -> None:
        self._core.loop.remove(item.pidfd)
        if item.pidfd >= 0:
            os.close(item.pidfd)
        if item.adopted:
            self._core.anchor.drop(item.container.id, item.name)
        del self._running[item.id]
        code, number = split_status(wait_status) if wait_status is not None else (UNKNOWN_EXIT_CODE, 0)
        record = ExitRecord(item.container.id, item.id, code, number, False, finished_at_ns)
        listeners = [request for request in item.requests if not request.is_abandoned]
        for request in listeners:
            request.answer({"exit": record})
        if not os.path.isdir(item.container.directory):
            return  # deleted before it could end
        with step("keeper.end-exec"):
            if listeners:
                os.unlink(item.path)
            else:
                write_json(item.path, {"exit": record})
                _forget_old(item.container.directory)

    def serve_wait_exec(self, request: Request) -> None:
        """At once when it has ended, from its file; NotFound when that was told to somebody, or long ago."""
        container = self._core.find(request)
        exec_id = request.args["exec_id"]
        item = self._running.get(exec_id)
        if item is not None and item.pending is None:
            item.requests.append(request)
            return
        saved = _read_record(container, exec_id)
        if saved is None or "exit" not in saved:
            raise NotFound(f"exec {exec_id} is not known")
        request.answer({"exit": saved["exit"]})

    def serve_signal_exec(self, request: Request) -> None:
        """To the process and all of its session's first process group; NotFound when it has ended."""
        exec_id = request.args["exec_id"]
        item = self._running.get(exec_id)
        if item is None:
            raise NotFound(f"exec {exec_id} has ended or never was")
        if item.pending is not None:
            raise FailedPrecondition(f"exec {exec_id} has not started its program yet")
        number = request.args["signum"]
        if item.deliver is not None:
            item.deliver(number)
        else:
            _signal_session(item.pid, number)
        request.answer({})

    # -- restart ----------------------------------------------------------------

    def restore(self, store: Store) -> None:
        """Those of an earlier supervisor."""
        for container in self._core.containers.values():
            for name in sorted(os.listdir(container.directory)):
                if name.startswith(_PREFIX) and not name.endswith(".new"):
                    pidfd = store.get(container.id, {}).get(name, -1)
                    self._adopt(container, name.removeprefix(_PREFIX), pidfd)

    def _adopt(self, container: Container, exec_id: str, pidfd: int) -> None:
        saved = _read_record(container, exec_id)
        if saved is None or "exit" in saved:
            return
        if pidfd < 0:
            pidfd = open_process(saved["pid"], saved["start_time"])
        item = Exec(exec_id, container, saved["pid"], pidfd, adopted=True)
        if pidfd >= 0:
            self._core.anchor.put(container.id, {item.name: pidfd})
            self._watch(item)
            return
        self._running[exec_id] = item
        self.take_exits(self._core.anchor.sync())
        if exec_id in self._running:
            self._finish(item, None, time.time_ns())

    def release(self, store: Store) -> None:
        """Into `store`, so that the next supervisor sees them end."""
        for item in self._running.values():
            store.setdefault(item.container.id, {})[item.name] = item.pidfd
            item.close_terminal()
            if item.pending is not None:
                item.pending.report.close()


def _signal_session(pid: int, number: int) -> None:
    """To its process group, or to it alone when it leads none."""
    for send in (os.killpg, os.kill):
        try:
            send(pid, number)
            return
        except ProcessLookupError:
            continue


def _read_record(container: Container, exec_id: str) -> Any:
    if "/" in exec_id:
        return None
    return read_json(f"{container.directory}/{_PREFIX}{exec_id}")


def _forget_old(directory: str) -> None:
    """All but the newest KEPT_MAX that have ended."""
    with os.scandir(directory) as entries:
        ended = [
            (entry.stat().st_mtime_ns, entry.path)
            for entry in entries
            if entry.name.startswith(_PREFIX) and "exit" in (read_json(entry.path) or {})
        ]
    for _, path in sorted(ended)[:-KEPT_MAX]:
        os.unlink(path)
