"""Create and start: from a request to a process that waits at its gate, and through it."""

import os
import signal
import time

from rundlet.errors import AlreadyExists, Error, FailedPrecondition
from rundlet.keeper.container import Container
from rundlet.keeper.core import Core, check_id
from rundlet.keeper.ending import Ending
from rundlet.keeper.files import make_volatile
from rundlet.keeper.hooks import read_hooks, save_hooks, start_kinds
from rundlet.keeper.identity import read_start_time
from rundlet.keeper.launch import Launcher, Pending
from rundlet.keeper.protocol import LogLimit
from rundlet.keeper.server import Request
from rundlet.keeper.strays import reap
from rundlet.plan.container import Hooks, Outline, read_outline
from rundlet.runtime.report import Report, let_go_on
from rundlet.step import step

_AHEAD_DELAY_S = 0.02
"""What is asked for right after a start, a first probe perhaps, does not wait for what may be asked for later."""


def reserve_container(core: Core, container_id: str, cgroup: str) -> Container:
    """Its directory, and its place among the others; AlreadyExists when that is taken."""
    if check_id(container_id) in core.containers:
        raise AlreadyExists(f"container {container_id} exists already")
    container = core.new_container(container_id, cgroup)
    top = os.path.dirname(container.directory)
    if not os.path.isdir(top):
        with step("keeper.containers-mount"):
            make_volatile(top)
    with step("keeper.reserve"):
        os.mkdir(container.directory, 0o700)
    core.containers[container.id] = container
    return container


def prepare_container(container: Container, request: Request) -> None:
    """What the request says of log and stdin."""
    args = request.args
    with step("keeper.open-log"):
        container.log.open(args["log_path"], LogLimit(*args["log_limit"]))
    container.stdin_mode = ("once" if args["stdin_once"] else "open") if args["stdin"] else ""
    container.save()  # "creating": whoever finds that clears it away


class Creation:
    """Containers on their way to execve(2)."""

    def __init__(self, core: Core, launcher: Launcher, ending: Ending) -> None:
        self._core = core
        self._launcher = launcher
        self._ending = ending
        self._pending: dict[str, Pending] = {}
        ending.before_exit = self._hear_last_words

    def serve_create(self, request: Request) -> None:
        plan = read_outline(request.args["plan"])
        container = reserve_container(self._core, plan.container_id, plan.cgroup.path)
        try:
            pending = self._launch(container, plan, request)
        except BaseException:
            self._ending.destroy(container)
            raise
        pending.requests.append(request)
        pending.hooks = plan.hooks
        pending.has_program = plan.has_program
        pending.starts = bool(request.args.get("start"))
        self._pending[container.id] = pending
        container.listen()
        self._core.loop.add(pending.report.fileno(), lambda: self._on_report(container))
        self._ending.watch_process(container)

    def _launch(self, container: Container, plan: Outline, request: Request) -> Pending:
        self._launcher.expect(container.group, plan)
        prepare_container(container, request)
        save_hooks(container, plan.hooks)
        if container.group is not None:
            with step("keeper.cgroup"):
                container.group.make()
                container.group.apply(plan.cgroup.writes)
        with step("keeper.clone"):
            pending = self._launcher.start_container(container, plan, request)
        if container.group is None:
            container.save()  # with its pid: there is no cgroup to find it by
        return pending

    def serve_start(self, request: Request) -> None:
        container = self._core.find(request)
        if container.status != "created":
            raise FailedPrecondition(
                f"container {container.id} is {container.status}: only a created one can be started"
            )
        pending = self._pending.get(container.id)
        if pending is not None and pending.requests:
            pending.requests.append(request)  # it is being started: for a caller that died, perhaps
            return
        if pending is not None and not pending.has_program:
            raise FailedPrecondition(
                f"container {container.id} has no process to start: config.json sets none"
            )
        self._start(container)
        if pending is not None:
            pending.requests.append(request)
            return
        container.status = "running"  # made by an earlier supervisor: nobody will report
        self._run_poststart(container, read_hooks(container), request)

    def _start(self, container: Container) -> None:
        """First written down, then done: a new supervisor opens the gate of one that is "starting" again."""
        self._note_start(container)
        with step("keeper.gate"):
            container.open_gate()

    def _note_start(self, container: Container) -> None:
        container.status = "starting"
        container.started_at_ns = time.time_ns()
        try:
            container.save()
        finally:
            container.status = "created"

    def _on_report(self, container: Container) -> None:
        """The new process is ready, has failed, or is now the container's program."""
        pending = self._pending.get(container.id)
        if pending is not None:
            self._hear(container, pending, pending.receive())

    def _hear(self, container: Container, pending: Pending, report: Report) -> None:
        if report.kind == "child":
            self._on_child(container, report)
        elif report.kind == "hooks" and pending.hooks is not None:
            self._run_create_runtime(container, pending, pending.hooks)
        elif report.kind == "ready":
            if report.fd >= 0:
                container.open_terminal(report.fd)
            if container.group is not None:
                container.group.settle()
            self._on_ready(container, pending, report)
        elif report.kind == "error" and report.error is not None:
            pending.error = report.error
        elif report.kind == "end":
            self._end_pending(container, pending)

    def _on_child(self, container: Container, report: Report) -> None:
        """What was cloned was only the helper of the first process, and ends."""
        helper_pid, helper_pidfd = container.pid, container.pidfd

        def on_end() -> None:
            self._core.loop.remove(helper_pidfd)
            reap(helper_pid)
            os.close(helper_pidfd)

        self._core.loop.remove(helper_pidfd)
        self._core.loop.add(helper_pidfd, on_end)
        container.pid, container.pidfd = report.pid, report.fd
        container.start_time = read_start_time(report.pid)
        container.save()
        self._ending.watch_process(container)
        if self._ending.is_deleting(container):
            container.send_signal(signal.SIGKILL)

    def _run_create_runtime(self, container: Container, pending: Pending, hooks: Hooks) -> None:
        """The first process waits for these; when one fails it is killed, and the creation fails with that error."""

        def then(error: Error | None) -> None:
            if container.id not in self._pending:
                return  # it has died meanwhile
            if error is None:
                let_go_on(pending.report)
                return
            pending.error = error
            container.send_signal(signal.SIGKILL)

        start_kinds(self._core.loop, hooks, ("prestart", "createRuntime"), "creating", container.pid, then)

    def _run_poststart(self, container: Container, hooks: Hooks | None, waiting: Pending | Request) -> None:
        """The program runs; start is answered when these have, and one that fails stops the container."""
        answer = {"pid": container.pid, "started_at_ns": container.started_at_ns}
        if hooks is None or not hooks.poststart:
            waiting.answer(answer)
            return

        def then(error: Error | None) -> None:
            if error is None:
                waiting.answer(answer)
                return
            container.send_signal(signal.SIGKILL)
            waiting.fail(error)

        start_kinds(self._core.loop, hooks, ("poststart",), "running", container.pid, then)

    def _on_ready(self, container: Container, pending: Pending, report: Report) -> None:
        self._core.hold(container)
        self._core.loop.soon(lambda: self._ending.watch_memory(container))
        container.status = "created"
        if pending.starts:
            self._note_start(container)  # its gate was open from the beginning
        else:
            container.save()
            timed = {"steps": report.steps} if report.steps else {}
            pending.answer({"pid": container.pid, **timed})

    def _end_pending(self, container: Container, pending: Pending) -> None:
        """The report socket has closed: by execve(2), or because the process died."""
        self._core.loop.remove(pending.report.fileno())
        pending.report.close()
        del self._pending[container.id]
        if container.status == "created" and pending.error is None:
            container.status = "running"
            self._run_poststart(container, pending.hooks, pending)
            self._core.loop.later(_AHEAD_DELAY_S, lambda: self._work_ahead(pending))
        elif container.status == "creating":
            self._ending.failed[container.id] = pending  # told when nothing is left of it
        elif pending.error is not None:
            pending.fail(pending.error)

    def _work_ahead(self, pending: Pending) -> None:
        """With many starts at once there is no time for that."""
        if not self._pending:
            self._launcher.expect_another(pending)

    def _hear_last_words(self, container: Container) -> None:
        """All that its first process reported before it ended, or that its helper did."""
        pid = container.pid
        while container.pid == pid and (pending := self._pending.get(container.id)):
            report = pending.receive()
            # "none": it is dead, and only its helper still has the socket open.
            self._hear(container, pending, Report("end") if report.kind == "none" else report)

    def close(self) -> None:
        for pending in self._pending.values():
            pending.report.close()
