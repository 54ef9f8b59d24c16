"""Making processes: descriptors and FIFOs before clone3(2), the report after it."""

import os
import socket
from typing import Any

from rundlet.cgroup.group import Group
from rundlet.errors import Error
from rundlet.keeper.container import Container
from rundlet.keeper.identity import read_start_time
from rundlet.keeper.server import Request
from rundlet.kernel import namespace
from rundlet.kernel.clone import Cloned, clone
from rundlet.plan.container import ContainerPlan, Hooks
from rundlet.plan.process import ProcessPlan
from rundlet.plan.steps import JoinCgroup
from rundlet.runtime.init import Machine, Stdio, run_exec, run_first
from rundlet.runtime.report import Report, receive_report


class Pending:
    """A process on its way to execve(2), and the request that waits for the next thing it says."""

    def __init__(self, report: socket.socket) -> None:
        report.setblocking(False)
        self.report = report
        self.request: Request | None = None
        self.error: Error | None = None
        self.hooks: Hooks | None = None
        self.has_program = True
        self.starts = False  # goes through its gate as soon as it is ready

    def receive(self) -> Report:
        """Never blocks: `kind` is "none" when nothing has been said."""
        try:
            return receive_report(self.report)
        except BlockingIOError:
            return Report("none")

    def answer(self, ok: dict[str, Any]) -> None:
        request, self.request = self.request, None
        if request is not None:
            request.answer(ok)

    def fail(self, error: Error) -> None:
        request, self.request = self.request, None
        if request is not None:
            request.fail(error)


class Launcher:
    """Forks the supervisor; nothing of it is kept."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._home_pid_fd = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._null_fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def start_container(self, container: Container, plan: ContainerPlan) -> Pending:
        """Clone the first process of `container`; it reports by the Pending's socket."""
        borrowed: list[int] = []
        try:
            gate = _make_fifo(container, "start", os.O_RDWR, borrowed)
            stdio = self.open_stdio(container, plan.process.terminal, borrowed)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            join, cgroup_fd = _enter_cgroup(container.group, borrowed)
            child = self._clone_first(plan, cgroup_fd)
            if child.pid == 0:
                run_first(plan, (join,), self._machine, stdio, theirs, gate)
            theirs.close()
        finally:
            for fd in borrowed:
                os.close(fd)
        container.pid, container.pidfd = child.pid, child.pidfd
        container.start_time = read_start_time(child.pid)
        return Pending(ours)

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

    def _clone_first(self, plan: ContainerPlan, cgroup_fd: int) -> Cloned:
        """The first process, or its helper, which makes the namespaces itself."""
        if plan.needs_helper:
            return clone(cgroup_fd=cgroup_fd)
        flags = sum(namespace.KINDS[kind].flag for kind in plan.clone)
        if not plan.pid_namespace:
            return clone(flags, cgroup_fd)
        namespace.join(plan.pid_namespace, namespace.CLONE_NEWPID)
        return self._clone_and_return(flags, cgroup_fd)

    def _clone_and_return(self, flags: int, cgroup_fd: int) -> Cloned:
        """A PID namespace joined by setns(2) is for children only; afterwards they are made at home again."""
        try:
            child = clone(flags, cgroup_fd)
        except OSError:
            namespace.setns(self._home_pid_fd, namespace.CLONE_NEWPID)
            raise
        if child.pid:
            namespace.setns(self._home_pid_fd, namespace.CLONE_NEWPID)
        return child

    def choose_stdio(self, request: Request) -> Stdio:
        """The descriptors that came along for stdin, stdout and stderr; /dev/null for what did not."""
        fds = iter(request.fds)
        return Stdio(*(next(fds) if request.args[name] else self._null_fd for name in Stdio._fields))

    def start_exec(self, container: Container, plan: ProcessPlan, stdio: Stdio) -> tuple[Cloned, Pending]:
        """Clone a process into the container."""
        borrowed: list[int] = []
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            join, cgroup_fd = _enter_cgroup(container.group, borrowed)
            namespace.setns(container.pidfd, namespace.CLONE_NEWPID)
            child = self._clone_and_return(0, cgroup_fd)
            if child.pid == 0:
                run_exec(plan, (join,), self._machine, stdio, theirs, container.pidfd)
            theirs.close()
        finally:
            for fd in borrowed:
                os.close(fd)
        return child, Pending(ours)

    def close(self) -> None:
        os.close(self._home_pid_fd)
        os.close(self._null_fd)


def _enter_cgroup(group: Group | None, borrowed: list[int]) -> tuple[JoinCgroup, int]:
    """What the new process does to join, and the group that it is born into (-1: none).

    On version 2 it is born there: a move waits for an RCU grace period, 5 to 15 ms.  On
    version 1, where nobody can be born into a group, `tasks` takes the process itself at once.
    """
    if group is None:
        return JoinCgroup(()), -1
    if group.layout.version == 1:
        return JoinCgroup(group.join_files()), -1
    return JoinCgroup(()), _open(group.directory(""), os.O_RDONLY | os.O_DIRECTORY, borrowed)


def _open(path: str, flags: int, borrowed: list[int] | None) -> int:
    fd = os.open(path, flags | os.O_CLOEXEC)
    if borrowed is not None:
        borrowed.append(fd)
    return fd


def _make_fifo(container: Container, name: str, flags: int, borrowed: list[int] | None) -> int:
    path = f"{container.directory}/{name}"
    os.mkfifo(path, 0o600)
    return _open(path, flags, borrowed)
