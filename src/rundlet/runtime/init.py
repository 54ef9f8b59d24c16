"""The life of a new process between clone3(2) and execve(2).

    keeper                                   the new process
    ------                                   ---------------
    clone3  ───────────────────────────────▶ steps of the plan, one after the other
                                             identity, limits; finds its program
            ◀── {"ready": true} + terminal   (an exec: only when it has a terminal)
    writes one byte to the gate's FIFO ────▶ reads it (a container's first process only)
                                             seccomp, execve
            ◀── end of file                  the report socket closes at execve(2)
            ◀── {"error": [code, message, hint]}   at any time instead; then exit code 126 or 127

The report travels on a SOCK_SEQPACKET pair; the gate is a FIFO on disk, so a
container can be started even after the keeper's supervisor was replaced.
"""

import gc
import json
import os
import socket
import stat
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from rundlet.errors import Error, FailedPrecondition, NotFound
from rundlet.kernel import namespace, prctl
from rundlet.plan.container import ContainerPlan
from rundlet.plan.process import ProcessPlan
from rundlet.plan.steps import JoinCgroup, SetOomScore, Step
from rundlet.runtime import process
from rundlet.runtime.execute import Context, execute
from rundlet.runtime.terminal import Terminal, make_controlling, open_terminal_here

_EXEC_NAMESPACES = (
    namespace.CLONE_NEWNS | namespace.CLONE_NEWUTS | namespace.CLONE_NEWIPC
    | namespace.CLONE_NEWNET | namespace.CLONE_NEWCGROUP
)  # fmt: skip


class Stdio(NamedTuple):
    """Descriptors that become 0, 1 and 2."""

    stdin: int
    stdout: int
    stderr: int


class Machine(NamedTuple):
    """What must be known before the host's /proc goes out of sight."""

    architecture: str
    last_capability: int


class Inheritance(NamedTuple):
    """What a process keeps of its caller besides stdio.

    `extra_fds` counts the descriptors from 3 on that the program gets.  When nobody
    listens at the report socket any more (the creator has gone), errors are written to
    `answer_fd` instead, which closes at execve(2).
    """

    extra_fds: int = 0
    session_keyring: bool = False
    answer_fd: int = -1


def run_first(
    plan: ContainerPlan,
    cgroup: JoinCgroup,
    machine: Machine,
    stdio: Stdio,
    report: socket.socket,
    gate_fd: int,
    inheritance: Inheritance = Inheritance(),
) -> NoReturn:
    """A container's first process.  Never returns."""

    def live() -> None:
        context = Context()
        for step in (cgroup, *plan.setup):
            _execute(step, context)
        _take_terminal_or(context.terminal, stdio, plan.process.uid)
        environment = process.build_environment(plan.process)
        path = process.prepare_process(
            plan.process,
            machine.architecture,
            machine.last_capability,
            make_cwd=True,
            new_keyring=not inheritance.session_keyring,
        )
        _report_ready(report, context.terminal)
        os.read(gate_fd, 1)
        _become(path, plan.process, environment, inheritance.extra_fds)

    _live(live, report, f"container {plan.container_id}", {*stdio, gate_fd}, inheritance)


def run_exec(
    plan: ProcessPlan,
    cgroup: JoinCgroup,
    machine: Machine,
    stdio: Stdio,
    report: socket.socket,
    pidfd: int,
    inheritance: Inheritance = Inheritance(),
) -> NoReturn:
    """A further process in the container whose first process is open on `pidfd`.  Never returns."""

    def live() -> None:
        context = Context()
        _execute(cgroup, context)
        if plan.oom_score_adj is not None:
            _execute(SetOomScore(plan.oom_score_adj), context)
        namespace.setns(pidfd, _EXEC_NAMESPACES)
        terminal = open_terminal_here(*plan.console_size, plan.uid) if plan.terminal else None
        _take_terminal_or(terminal, stdio, plan.uid)
        environment = process.build_environment(plan)
        path = process.prepare_process(
            plan, machine.architecture, machine.last_capability, make_cwd=False, new_keyring=True
        )
        if terminal is not None:
            _report_ready(report, terminal)
        _become(path, plan, environment, inheritance.extra_fds)

    _live(live, report, "exec", {*stdio, pidfd}, inheritance)


def _live(
    life: Callable[[], None],
    report: socket.socket,
    what: str,
    needed_fds: set[int],
    inheritance: Inheritance,
) -> NoReturn:
    """Run `life`, which ends in execve(2); report what stops it.

    The keeper's other descriptors are closed at once: a container that waits at
    its gate must not keep somebody's connection or another container's pipe open.
    """
    code = 126
    try:
        gc.disable()
        kept = {*range(3 + inheritance.extra_fds), *needed_fds, report.fileno(), inheritance.answer_fd}
        prctl.close_all_but({fd for fd in kept if fd >= 0})
        prctl.set_dumpable(False)
        process.reset_signals()
        os.umask(0)
        os.setsid()
        life()
    except Error as error:
        code = 127 if isinstance(error, NotFound) else 126  # as shells have it
        _report(report, error, inheritance.answer_fd)
    except BaseException as error:
        _report(report, FailedPrecondition(f"{what}: {type(error).__name__}: {error}"), inheritance.answer_fd)
    finally:
        os._exit(code)


def _report(report: socket.socket, error: Error, answer_fd: int) -> None:
    """To whoever listens: the creator, else who waits at `answer_fd`, else only the exit code tells."""
    message = json.dumps({"error": [error.code, error.message, error.hint]}).encode()
    try:
        report.send(message, socket.MSG_NOSIGNAL)
    except OSError:
        if answer_fd >= 0:
            os.write(answer_fd, message)


def _execute(step: Step, context: Context) -> None:
    try:
        execute(step, context)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise FailedPrecondition(
            f"{step.describe()}: {os.strerror(error.errno or 0).lower()}{about}"
        ) from error


def _report_ready(report: socket.socket, terminal: Terminal | None) -> None:
    socket.send_fds(report, [b'{"ready": true}'], [terminal.master] if terminal else [])


def _take_terminal_or(terminal: Terminal | None, stdio: Stdio, uid: int) -> None:
    """The terminal, where there is one, becomes stdio and the session's own."""
    if terminal is None:
        _take_stdio(stdio, uid)
        return
    _take_stdio(Stdio(terminal.slave, terminal.slave, terminal.slave), uid)
    make_controlling(0)


def _take_stdio(stdio: Stdio, uid: int) -> None:
    """Become 0, 1 and 2, owned by the user: programs reopen /dev/stdout."""
    for fd in stdio:
        if uid and stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, uid, -1)
    high = [os.dup(fd) if fd < len(stdio) else fd for fd in stdio]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=True)


def _become(path: str, plan: ProcessPlan, environment: dict[str, str], extra_fds: int) -> NoReturn:
    process.close_descriptors(extra_fds)
    if plan.seccomp and plan.no_new_privileges:
        process.load_seccomp(plan)
    process.execute_program(path, plan, environment)
