"""Hooks: programs of the configuration run at points of a container's life (config.md#posix-platform-hooks).

    kind              run by                       in
    prestart          the parent, when asked       the runtime's namespaces
    createRuntime     the parent, when asked       the runtime's namespaces
    createContainer   the first process            the container's namespaces, before pivot_root
    startContainer    the first process            the container
    poststart         the parent                   the runtime's namespaces
    poststop          the parent                   the runtime's namespaces

The first process asks by {"hooks": true} on its report socket and goes on at
{"go": true}; it ends when the socket is closed instead.  `run_hooks` blocks: a
parent that must not block calls `start_hooks` and is told by a socket.
"""

import errno
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from rundlet.errors import Error, FailedPrecondition
from rundlet.kernel import prctl
from rundlet.kernel.clone import Cloned, clone
from rundlet.plan import steps
from rundlet.plan.container import Hook
from rundlet.runtime.context import Context
from rundlet.runtime.guard import execute_by_descriptor
from rundlet.runtime.process import reset_signals

ASK = b'{"hooks": true}'
GO = b'{"go": true}'
_OUTPUT_MAX_BYTES = 512


class Group(NamedTuple):
    """Hooks of one kind, in the order of the configuration."""

    kind: str
    hooks: Sequence[Hook]


def run_hooks(
    groups: Sequence[Group], state: dict[str, Any], *, go_on: bool = False, is_guarded: bool = False
) -> None:
    """Run all, one after the other; `state` is the whole state document.

    The first that fails, or does not end in its time, ends it with
    FailedPrecondition; with `go_on` (poststop) the others are run all the same.
    `is_guarded`: they are files of a container, and may lead to this interpreter (`rundlet.runtime.guard`).
    """
    failure: Error | None = None
    for kind, hooks in groups:
        for index, hook in enumerate(hooks):
            try:
                _run_hook(f"hooks.{kind}[{index}]", hook, state, is_guarded=is_guarded)
            except Error as error:
                if not go_on:
                    raise
                failure = failure or error
    if failure is not None:
        raise failure


def _run_hook(where: str, hook: Hook, state: dict[str, Any], *, is_guarded: bool) -> None:
    stdin = os.memfd_create("rundlet-state", os.MFD_CLOEXEC)
    output = os.memfd_create("rundlet-hook", os.MFD_CLOEXEC)
    try:
        os.write(stdin, json.dumps(state).encode())
        os.lseek(stdin, 0, os.SEEK_SET)
        child = clone()
        if child.pid == 0:
            _become_hook(hook, state["bundle"], stdin, output, is_guarded=is_guarded)
        in_time = _wait(child, hook.timeout_s)
        _, wait_status = os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        if not in_time:
            raise FailedPrecondition(f"{where} ({hook.path}): it did not end in {hook.timeout_s} s")
        _check(where, hook, wait_status, output)
    finally:
        os.close(stdin)
        os.close(output)


def _become_hook(hook: Hook, directory: str, stdin: int, output: int, *, is_guarded: bool) -> NoReturn:
    try:
        os.setsid()
        reset_signals()
        for number, fd in ((0, stdin), (1, output), (2, output)):
            os.dup2(fd, number)
        prctl.close_on_exec_from(3)
        try:
            os.chdir(directory)
        except OSError:
            os.chdir("/")  # createContainer and later: the bundle may be out of reach
        environment = dict(entry.split("=", 1) for entry in hook.env if "=" in entry)
        if is_guarded:
            execute_by_descriptor(hook.path, hook.args, environment)
        os.execve(hook.path, hook.args, environment)
    except BaseException as error:
        os.write(output, f"cannot be executed: {error}".encode())
    finally:
        os._exit(127)


def _wait(child: Cloned, timeout_s: int) -> bool:
    """Whether it ended in time; when not, it is killed with its session's first group."""
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    end_s = time.monotonic() + timeout_s
    while not poll.poll(max(0, (end_s - time.monotonic()) * 1000) if timeout_s else None):
        if time.monotonic() >= end_s:
            _kill_group(child)
            return False
    return True


def _kill_group(child: Cloned) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise
    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)


def _check(where: str, hook: Hook, wait_status: int, output: int) -> None:
    code = os.waitstatus_to_exitcode(wait_status)
    if code == 0:
        return
    size = os.lseek(output, 0, os.SEEK_END)
    tail = os.pread(output, _OUTPUT_MAX_BYTES, max(0, size - _OUTPUT_MAX_BYTES))
    said = " ".join(tail.decode(errors="replace").split())
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    raise FailedPrecondition(f"{where} ({hook.path}): {how}{': ' if said else ''}{said}")


class Running(NamedTuple):
    """Hooks on their way in a process of their own; `socket` gets one message, then its end."""

    pid: int
    pidfd: int
    socket: socket.socket


def start_hooks(groups: Sequence[Group], state: dict[str, Any], *, go_on: bool = False) -> Running:
    """Run hooks beside this process; the caller reaps `pid` and reads the outcome by `read_outcome`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = clone()
    if child.pid == 0:
        _run_and_tell(groups, state, theirs, go_on)
    theirs.close()
    return Running(child.pid, child.pidfd, ours)


def _run_and_tell(
    groups: Sequence[Group], state: dict[str, Any], theirs: socket.socket, go_on: bool
) -> NoReturn:
    try:
        prctl.close_all_but({0, 1, 2, theirs.fileno()})
        run_hooks(groups, state, go_on=go_on)
        theirs.send(b"null")
    except Error as error:
        theirs.send(json.dumps([error.code, error.message, error.hint]).encode())
    finally:
        os._exit(0)


def read_outcome(running: Running) -> list[str] | None:
    """(code, message, hint) of what failed, or None; blocks until the hooks have ended."""
    raw = running.socket.recv(1 << 16)
    running.socket.close()
    if not raw:
        return ["failed_precondition", "hooks: their process was killed", ""]
    outcome: list[str] | None = json.loads(raw)
    return outcome


def run_in_container(
    kind: str, hooks: Sequence[Hook], state: dict[str, Any], status: str, *, is_guarded: bool = False
) -> None:
    """Hooks of the first process's own, with its pid as it is seen there."""
    run_hooks([Group(kind, hooks)], {**state, "status": status, "pid": os.getpid()}, is_guarded=is_guarded)


def _await_hooks(_: steps.AwaitHooks, context: Context) -> None:
    if context.report is None:
        return
    context.report.send(ASK)
    if context.report.recv(64) != GO:
        os._exit(126)  # the parent knows why


def _run_create_container(_: steps.RunHooks, context: Context) -> None:
    if context.hooks is not None:
        run_in_container("createContainer", context.hooks.create_container, context.hooks.state, "creating")


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {
    steps.AwaitHooks: _await_hooks,
    steps.RunHooks: _run_create_container,
}
