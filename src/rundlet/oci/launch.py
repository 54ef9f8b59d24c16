"""The parent's side of a new process: clone it, hear what it says (`rundlet.runtime.init`)."""

import os
import socket
from typing import NamedTuple

from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.kernel import namespace
from rundlet.kernel.capability import last_capability
from rundlet.kernel.clone import Cloned, clone
from rundlet.oci.interpreter import needs_private_interpreter
from rundlet.plan.container import ContainerPlan, Hooks
from rundlet.plan.process import ProcessPlan
from rundlet.plan.steps import JoinCgroup
from rundlet.runtime.init import Inheritance, Origin, run_exec, run_first
from rundlet.runtime.process import Machine
from rundlet.runtime.report import let_go_on, receive_report
from rundlet.runtime.stdio import Stdio

_FIRST_EXTRA_FD = 3


class Child(NamedTuple):
    """`report` is a SOCK_SEQPACKET socket that closes when the program runs."""

    pid: int
    pidfd: int
    report: socket.socket


def read_machine() -> Machine:
    return Machine(os.uname().machine, last_capability())


def is_guarded() -> bool:
    """Whether programs are executed by descriptor; on other kernels this interpreter is a private one."""
    return not needs_private_interpreter(os.uname().release)


def count_extra_fds(preserve: int, listen: int) -> int:
    """`preserve` descriptors after those of LISTEN_FDS; InvalidArgument when one is not open."""
    count = preserve + listen
    if preserve < 0 or listen < 0:
        raise InvalidArgument("flag --preserve-fds: expected a number of descriptors from 0 on")
    for fd in range(_FIRST_EXTRA_FD, _FIRST_EXTRA_FD + count):
        try:
            os.fstat(fd)
        except OSError:
            raise InvalidArgument(f"flag --preserve-fds: descriptor {fd} is not open") from None
    return count


def launch_first(
    plan: ContainerPlan, join: JoinCgroup, stdio: Stdio, gate_fd: int, inheritance: Inheritance
) -> Child:
    """Clone a container's first process, or the helper that clones it; it reports when it waits at the gate."""
    machine = read_machine()
    flags = 0 if plan.needs_helper else sum(namespace.KINDS[kind].flag for kind in plan.clone)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = _clone(flags, "" if plan.needs_helper else plan.pid_namespace)
    if child.pid == 0:
        run_first(plan, Origin((join,), machine, stdio, theirs, inheritance), gate_fd)
    theirs.close()
    return Child(child.pid, child.pidfd, ours)


def _clone(flags: int, pid_namespace: str) -> Cloned:
    """clone3(2), into an existing PID namespace where one is named; afterwards children are made at home again."""
    if not pid_namespace:
        return clone(flags)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    namespace.join(pid_namespace, namespace.CLONE_NEWPID)
    return _clone_and_return(flags, home)


def _clone_and_return(flags: int, home: int) -> Cloned:
    try:
        child = clone(flags)
    except OSError:
        namespace.setns(home, namespace.CLONE_NEWPID)
        raise
    if child.pid:
        namespace.setns(home, namespace.CLONE_NEWPID)
        os.close(home)
    return child


def launch_exec(
    plan: ProcessPlan, join: JoinCgroup, stdio: Stdio, pidfd: int, inheritance: Inheritance
) -> Child:
    """Clone a process into the container whose first process is open on `pidfd`."""
    machine = read_machine()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    namespace.setns(pidfd, namespace.CLONE_NEWPID)
    child = _clone_and_return(0, home)
    if child.pid == 0:
        run_exec(plan, Origin((join,), machine, stdio, theirs, inheritance), pidfd)
    theirs.close()
    return Child(child.pid, child.pidfd, ours)


class Ready(NamedTuple):
    """The first process, at its gate; `master` is its terminal's, or -1."""

    child: Child
    master: int


def await_ready(child: Child, hooks: Hooks | None) -> Ready:
    """Until the process waits at its gate; on the way it may ask for hooks, or turn out to be but a helper.

    Raises what the process reports or a hook says, FailedPrecondition when it ended without a word.
    """
    while True:
        report = receive_report(child.report)
        if report.error is not None:
            raise report.error
        if report.kind == "end":
            raise FailedPrecondition(f"the container's process ended before it was ready ({_end_of(child)})")
        if report.kind == "ready":
            return Ready(child, report.fd)
        if report.kind == "child":
            os.waitpid(child.pid, 0)
            child = child._replace(pid=report.pid, pidfd=report.fd)
        elif hooks is not None:
            run_early_hooks(hooks, child.pid)
            let_go_on(child.report)


def run_early_hooks(hooks: Hooks, pid: int) -> None:
    """Those that want the namespaces and not yet the program; `pid` is the first process."""
    from rundlet.runtime.hooks import Group, run_hooks

    state = {**hooks.state, "status": "creating", "pid": pid}
    run_hooks([Group("prestart", hooks.prestart), Group("createRuntime", hooks.create_runtime)], state)


def await_exec(child: Child) -> int:
    """Until the program runs, that is until the socket closes; the terminal's master if one came, or -1."""
    terminal = -1
    while True:
        report = receive_report(child.report)
        if report.error is not None:
            raise report.error
        if report.kind == "end":
            child.report.close()
            return terminal
        terminal = report.fd


def _end_of(child: Child) -> str:
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def exit_code(status: int) -> int:
    """As shells have it: 128 and the signal's number for a process that was killed."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
