"""Making processes: descriptors and FIFOs, a newborn for the work, the report that it gives."""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any

from rundlet.cgroup.group import Group
from rundlet.errors import Error
from rundlet.keeper.container import OPEN, Container
from rundlet.keeper.identity import read_start_time
from rundlet.keeper.loop import Loop
from rundlet.keeper.newborn import Work
from rundlet.keeper.nursery import Newborn, Nursery
from rundlet.keeper.server import Request
from rundlet.kernel import namespace
from rundlet.plan.container import Hooks, Outline
from rundlet.runtime.init import Machine, Stdio
from rundlet.runtime.report import Report, receive_report


class Pending:
    """A process on its way to execve(2), and the requests that wait for the next thing it says."""

    def __init__(self, report: socket.socket) -> None:
        report.setblocking(False)
        self.report = report
        self.requests: list[Request] = []
        self.error: Error | None = None
        self.hooks: Hooks | None = None
        self.has_program = True
        self.starts = False  # goes through its gate as soon as it is ready
        self.another: int | None = None  # the flags of a process like it, where that can be made ahead

    def receive(self) -> Report:
        """Never blocks: `kind` is "none" when nothing has been said."""
        try:
            return receive_report(self.report)
        except BlockingIOError:
            return Report("none")

    def answer(self, ok: dict[str, Any]) -> None:
        requests, self.requests = self.requests, []
        for request in requests:
            request.answer(ok)

    def fail(self, error: Error) -> None:
        requests, self.requests = self.requests, []
        for request in requests:
            request.fail(error)


class Launcher:
    """Finds work for newborns of the nursery."""

    def __init__(self, loop: Loop, machine: Machine, on_end: Callable[[], None]) -> None:
        self._nursery = Nursery(loop, machine, on_end)
        self._null_fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def expect(self, group: Group | None, outline: Outline) -> None:
        """A container like this one is going to be started: its process can be made meanwhile."""
        if _can_wait(group) and not outline.pid_namespace:
            self._nursery.order(_flags(outline))

    def expect_another(self, pending: Pending) -> None:
        """One has started its program; the next one may be like it."""
        if pending.another is not None:
            self._nursery.order(pending.another, ahead=True)

    def rest(self) -> None:
        """Nothing was started for a while."""
        self._nursery.rest()

    def start_container(self, container: Container, outline: Outline, request: Request) -> Pending:
        """Have a newborn become the first process of `container`; it reports by the Pending's socket."""
        borrowed: list[int] = []
        try:
            gate = _make_fifo(container, "start", os.O_RDWR, borrowed)
            if request.args.get("start"):
                os.write(gate, OPEN)
            fds = (gate, *self.open_stdio(container, outline.has_terminal, borrowed))
            makes_mounts = "mount" in outline.clone and not outline.needs_helper
            work = Work(_join_files(container.group), ("mount",) if makes_mounts else ())
            cgroup_fd = _open_cgroup(container.group, borrowed)
            pid_fd = -1
            if outline.pid_namespace and not outline.needs_helper:
                pid_fd = _open(outline.pid_namespace, os.O_RDONLY, borrowed)
            child = self._employ(_flags(outline), cgroup_fd, pid_fd, work, request, fds)
        finally:
            for fd in borrowed:
                os.close(fd)
        container.pid, container.pidfd = child.pid, child.pidfd
        container.start_time = read_start_time(child.pid)
        pending = Pending(child.sock)
        if cgroup_fd < 0 and pid_fd < 0:
            pending.another = _flags(outline)
        return pending

    def _employ(
        self, flags: int, cgroup_fd: int, pid_fd: int, work: Work, request: Request, fds: Sequence[int]
    ) -> Newborn:
        if cgroup_fd < 0 and pid_fd < 0:
            return self._nursery.employ(flags, work, request.raw, fds)
        return self._nursery.employ_in(flags, cgroup_fd, pid_fd, work, request.raw, fds)

    def open_stdio(self, container: Container, terminal: bool, borrowed: list[int]) -> Stdio:
        """The container's ends, opened both ways: a dead keeper must not mean SIGPIPE for the container.

        Nor the end of a stdin that is to stay open; one that ends with the first attach can only be read.
        """
        if terminal:
            container.open_stream("stdout", _make_fifo(container, "stdout", os.O_RDWR, None))
            return Stdio(self._null_fd, self._null_fd, self._null_fd)
        read = self._null_fd
        if container.stdin_mode:
            container.stdin.open(_make_fifo(container, "stdin", os.O_RDWR, None))
            mode = os.O_RDWR if container.stdin_mode == "open" else os.O_RDONLY
            read = _open(f"{container.directory}/stdin", mode, borrowed)
        ends = [_make_fifo(container, name, os.O_RDWR, borrowed) for name in ("stdout", "stderr")]
        for name in ("stdout", "stderr"):
            container.open_stream(name)
        return Stdio(read, *ends)

    def choose_stdio(self, request: Request) -> Stdio:
        """The descriptors that came along for stdin, stdout and stderr; /dev/null for what did not."""
        fds = iter(request.fds)
        return Stdio(*(next(fds) if request.args[name] else self._null_fd for name in Stdio._fields))

    def start_exec(self, container: Container, request: Request) -> Newborn:
        """Have a newborn become a further process of the container, with the request's descriptors."""
        borrowed: list[int] = []
        try:
            cgroup_fd = _open_cgroup(container.group, borrowed)
            work = Work(_join_files(container.group))
            fds = (container.pidfd, *self.choose_stdio(request))
            return self._nursery.employ_in(0, cgroup_fd, container.pidfd, work, request.raw, fds)
        finally:
            for fd in borrowed:
                os.close(fd)

    def abandon(self, newborn: Newborn) -> None:
        """It has work already, and nobody to do it for."""
        signal.pidfd_send_signal(newborn.pidfd, signal.SIGKILL)
        self._nursery.bury(newborn)

    def close(self) -> None:
        self._nursery.close()
        os.close(self._null_fd)


def _flags(outline: Outline) -> int:
    """What is made with the process; a helper makes the namespaces itself."""
    if outline.needs_helper:
        return 0
    return sum(namespace.KINDS[kind].flag for kind in outline.clone if kind != "mount")


def _can_wait(group: Group | None) -> bool:
    """Whether a process can be made before its cgroup: version 2 wants it born there.

    A move there waits for an RCU grace period, 5 to 15 ms; on version 1, where nobody can be
    born into a group, `tasks` takes the process itself at once.
    """
    return group is None or group.layout.version == 1


def _join_files(group: Group | None) -> tuple[str, ...]:
    """What the new process writes to, to join."""
    return group.join_files() if group is not None and group.layout.version == 1 else ()


def _open_cgroup(group: Group | None, borrowed: list[int]) -> int:
    """The group to be born into, or -1."""
    if group is None or _can_wait(group):
        return -1
    return _open(group.directory(""), os.O_RDONLY | os.O_DIRECTORY, borrowed)


def _open(path: str, flags: int, borrowed: list[int] | None) -> int:
    fd = os.open(path, flags | os.O_CLOEXEC)
    if borrowed is not None:
        borrowed.append(fd)
    return fd


def _make_fifo(container: Container, name: str, flags: int, borrowed: list[int] | None) -> int:
    path = f"{container.directory}/{name}"
    os.mkfifo(path, 0o600)
    return _open(path, flags, borrowed)
