"""The life of a new process between clone3(2) and execve(2).

    keeper                                   the new process
    ------                                   ---------------
    clone3  ───────────────────────────────▶ cgroup, steps with the host's rights
            ◀── {"child": pid} + pidfd       only with a helper (`rundlet.runtime.helper`), whose child goes on
                                             steps of the plan, one after the other
            ◀── {"hooks": true}              only with prestart or createRuntime hooks
    runs them; {"go": true} ───────────────▶ goes on; ends when the socket is closed instead
                                             identity, limits; finds its program
            ◀── {"ready": true} + terminal   (an exec: only when it has a terminal); with "steps", the times
                                             of those above, when the plan asks for them
    writes one byte to the gate's FIFO ────▶ reads it (a container's first process only)
                                             startContainer hooks, seccomp, execve
            ◀── end of file                  the report socket closes at execve(2)
            ◀── {"error": [code, message, hint]}   at any time instead; then exit code 126 or 127

The report travels on a SOCK_SEQPACKET pair; the gate is a FIFO on disk, so a
container can be started even after the keeper's supervisor was replaced.
"""

import gc
import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from rundlet.errors import Error, FailedPrecondition, NotFound
from rundlet.kernel import namespace, prctl
from rundlet.plan.container import ContainerPlan
from rundlet.plan.process import ProcessPlan
from rundlet.plan.steps import MoveNetDevice, SetOomScore, Step, map_id
from rundlet.runtime import process
from rundlet.runtime.context import Context, refusal
from rundlet.runtime.execute import execute, load
from rundlet.runtime.process import Machine
from rundlet.runtime.stdio import Stdio, own_stdio
from rundlet.runtime.terminal import Terminal, make_controlling, open_terminal_here
from rundlet.step import step as named

__all__ = [
    "Inheritance",
    "Machine",
    "Origin",
    "Stdio",
    "be_first",
    "be_further",
    "detach",
    "live",
    "run_exec",
    "run_first",
]

_EXEC_NAMESPACES = (
    namespace.CLONE_NEWNS | namespace.CLONE_NEWUTS | namespace.CLONE_NEWIPC
    | namespace.CLONE_NEWNET | namespace.CLONE_NEWCGROUP | namespace.CLONE_NEWTIME
)  # fmt: skip


class Inheritance(NamedTuple):
    """What a process keeps of its caller besides stdio.

    `extra_fds` counts the descriptors from 3 on that the program gets.  When nobody
    listens at the report socket any more (the creator has gone), errors are written to
    `answer_fd` instead, which closes at execve(2).  `is_guarded` is for callers whose
    interpreter does not lie on a read-only mount (`rundlet.runtime.guard`).
    """

    extra_fds: int = 0
    session_keyring: bool = False
    answer_fd: int = -1
    is_guarded: bool = False


class Origin(NamedTuple):
    """What a new process has from whoever made it.

    `arrival` is what it has to do to be where its creator wanted it: join the cgroup, say.
    With an `anteroom` (its descriptor) it makes its mount namespace from that, not from the host's mounts.
    """

    arrival: tuple[Step, ...]
    machine: Machine
    stdio: Stdio
    report: socket.socket
    inheritance: Inheritance = Inheritance()
    anteroom: int = -1


def run_first(plan: ContainerPlan, origin: Origin, gate_fd: int) -> NoReturn:
    """A container's first process.  Never returns.

    Where `plan.needs_helper` the caller clones without any namespace: the
    process becomes the helper, and says the first process's pid and pidfd.
    """

    def life() -> None:
        detach({*origin.stdio, gate_fd, origin.report.fileno()}, origin.inheritance)
        be_first(plan, origin, gate_fd)

    live(life, origin.report, f"container {plan.container_id}", origin.inheritance)


def be_first(plan: ContainerPlan, origin: Origin, gate_fd: int) -> None:
    """What `run_first` does, in a process that has detached itself."""
    arrival, machine, stdio, report, inheritance, anteroom = origin
    context = Context(report, plan.hooks)
    timed: list[tuple[str, int, int]] = []
    if plan.traced:
        from rundlet.runtime.stopwatch import Stopwatch

        timed = Stopwatch().steps
    load((*plan.entry, *plan.setup, *plan.process.attributes))
    process.load(plan.process)
    if plan.hooks is not None:
        from rundlet.runtime import hooks
    for step in arrival:
        _execute(step, context)
    _enter(plan, context, stdio, report)
    if anteroom >= 0:
        from rundlet.runtime.anteroom import enter_anteroom

        with named("first.anteroom"):
            enter_anteroom(anteroom, plan, context)
    prepared = process.open_before(plan.process, "creating")
    for step in (*plan.setup, *plan.process.attributes):
        _execute(step, context)
    _take_terminal_or(context.terminal, stdio, 0 if plan.user else plan.process.uid)
    environment = process.build_environment(plan.process)
    path = ""
    if plan.process.args:
        process.prepare_process(
            plan.process, machine, prepared, is_first=True, new_keyring=not inheritance.session_keyring
        )
        path = process.find_program(plan.process, environment)
    _report_ready(report, context.terminal, timed)
    os.read(gate_fd, 1)
    if not path:
        raise FailedPrecondition("config.json: process: it is not set, so there is nothing to start")
    if plan.hooks is not None and plan.hooks.start_container:
        guarded, own = inheritance.is_guarded, plan.hooks.start_container
        hooks.run_in_container("startContainer", own, plan.hooks.state, "created", is_guarded=guarded)
    _become(path, plan.process, environment, prepared, inheritance)


def _enter(plan: ContainerPlan, context: Context, stdio: Stdio, report: socket.socket) -> None:
    """What needs the host's rights; with a helper only the first process comes back from here."""
    if not plan.needs_helper:
        for step in plan.entry:
            _execute(step, context)
        return
    from rundlet.runtime.helper import give_birth

    for step in plan.entry:
        if not isinstance(step, MoveNetDevice):
            _execute(step, context)
    give_birth(plan, context, stdio, report)


def run_exec(plan: ProcessPlan, origin: Origin, pidfd: int) -> NoReturn:
    """A further process in the container whose first process is open on `pidfd`.  Never returns."""

    def life() -> None:
        detach({*origin.stdio, pidfd, origin.report.fileno()}, origin.inheritance)
        be_further(plan, origin, pidfd)

    live(life, origin.report, "exec", origin.inheritance)


def be_further(plan: ProcessPlan, origin: Origin, pidfd: int) -> None:
    """What `run_exec` does, in a process that has detached itself."""
    arrival, machine, stdio, report, inheritance, _ = origin
    context = Context()
    load(plan.attributes)
    if plan.affinity[0]:
        os.sched_setaffinity(0, plan.affinity[0])
    for step in arrival:
        _execute(step, context)
    if plan.affinity[1]:
        os.sched_setaffinity(0, plan.affinity[1])
    if plan.oom_score_adj is not None:
        _execute(SetOomScore(plan.oom_score_adj), context)
    prepared = process.open_before(plan, "running")
    uid = _join_container(plan, stdio, pidfd)
    for step in plan.attributes:
        _execute(step, context)
    terminal = open_terminal_here(*plan.console_size, plan.uid) if plan.terminal else None
    _take_terminal_or(terminal, stdio, uid)
    environment = process.build_environment(plan)
    process.prepare_process(plan, machine, prepared, is_first=False, new_keyring=True)
    path = process.find_program(plan, environment)
    if terminal is not None:
        _report_ready(report, terminal)
    _become(path, plan, environment, prepared, inheritance)


def _join_container(plan: ProcessPlan, stdio: Stdio, pidfd: int) -> int:
    """Enter its namespaces; the uid that stdio still is to belong to, 0 when that is done."""
    pid = namespace.pid_of(pidfd)
    if namespace.is_same(pid, "user"):
        _join_namespaces(pid, pidfd, _EXEC_NAMESPACES)
        return plan.uid
    from rundlet.runtime.userns import become_root, raise_limits, read_mapping

    own_stdio(stdio, map_id(read_mapping(pid, "uid_map"), plan.uid))
    raise_limits(plan.limits)
    _join_namespaces(pid, pidfd, _EXEC_NAMESPACES | namespace.CLONE_NEWUSER)
    become_root()
    return 0


def _join_namespaces(pid: int, pidfd: int, flags: int) -> None:
    """An ordinary user's process may not join, not even again, what the container shares with the host."""
    try:
        namespace.setns(pidfd, flags)
    except PermissionError:
        kinds = (kind for kind in namespace.KINDS.values() if kind.flag & flags)
        namespace.setns(pidfd, sum(kind.flag for kind in kinds if not namespace.is_same(pid, kind.file)))


def detach(needed_fds: set[int], inheritance: Inheritance = Inheritance()) -> None:
    """Let go of the creator: its descriptors, signal dispositions, session.

    All but `needed_fds` and what is inherited is closed at once: a container that waits at
    its gate must not keep somebody's connection or another container's pipe open.
    """
    gc.disable()
    kept = {*range(3 + inheritance.extra_fds), *needed_fds, inheritance.answer_fd}
    prctl.close_all_but({fd for fd in kept if fd >= 0})
    prctl.set_dumpable(False)
    process.reset_signals()
    os.umask(0)
    os.setsid()


def live(
    life: Callable[[], None], report: socket.socket, what: str, inheritance: Inheritance = Inheritance()
) -> NoReturn:
    """Run `life`, which ends in execve(2); report what stops it."""
    code = 126
    try:
        life()
    except Error as error:
        code = 127 if isinstance(error, NotFound) else 126  # as shells have it
        _report(report, error, inheritance.answer_fd)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        _report(report, FailedPrecondition(f"{what}: {error.strerror}{about}"), inheritance.answer_fd)
    except BaseException as error:
        _report(report, FailedPrecondition(f"{what}: {type(error).__name__}: {error}"), inheritance.answer_fd)
    finally:
        os._exit(code)


def _report(report: socket.socket, error: Error, answer_fd: int) -> None:
    """To whoever listens: the creator, else who waits at `answer_fd`, else only the exit code tells."""
    line = error.message.replace("\n", "\\n")  # names of the configuration may hold anything
    message = json.dumps({"error": [error.code, line, error.hint]}).encode()
    try:
        report.send(message, socket.MSG_NOSIGNAL)
    except OSError:
        if answer_fd >= 0:
            os.write(answer_fd, message)


def _execute(step: Step, context: Context) -> None:
    try:
        execute(step, context)
    except OSError as error:
        raise refusal(step, error) from error


def _report_ready(
    report: socket.socket, terminal: Terminal | None, timed: Sequence[tuple[str, int, int]] = ()
) -> None:
    message = b'{"ready": true}'
    if timed:
        message = json.dumps({"ready": True, "steps": timed}).encode()
    with named("first.ready"):
        socket.send_fds(report, [message], [terminal.master] if terminal else [])


def _take_terminal_or(terminal: Terminal | None, stdio: Stdio, uid: int) -> None:
    """The terminal, where there is one, becomes stdio and the session's own."""
    if terminal is None:
        _take_stdio(stdio, uid)
        return
    _take_stdio(Stdio(terminal.slave, terminal.slave, terminal.slave), uid)
    make_controlling(0)


def _take_stdio(stdio: Stdio, uid: int) -> None:
    """Become 0, 1 and 2, owned by the user: programs reopen /dev/stdout."""
    if uid:
        own_stdio(stdio, uid)
    high = [os.dup(fd) if fd < len(stdio) else fd for fd in stdio]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=True)


def _become(
    path: str,
    plan: ProcessPlan,
    environment: dict[str, str],
    prepared: process.Prepared,
    inheritance: Inheritance,
) -> NoReturn:
    with named("first.close-descriptors"):
        process.close_descriptors(inheritance.extra_fds)
    process.write_labels(prepared)
    if plan.seccomp and plan.no_new_privileges:
        process.load_seccomp(plan, prepared)
    process.execute_program(path, plan, environment, is_guarded=inheritance.is_guarded)
