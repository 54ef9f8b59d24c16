"""Create and start: from a request to a process that waits at its gate, and through it."""

import os
import time

from rundlet.errors import AlreadyExists, FailedPrecondition
from rundlet.keeper.container import Container
from rundlet.keeper.core import Core, check_id
from rundlet.keeper.ending import Ending
from rundlet.keeper.launch import Launcher, Pending
from rundlet.keeper.server import Request
from rundlet.plan.container import ContainerPlan, decode_plan


class Creation:
    """Containers on their way to execve(2)."""

    def __init__(self, core: Core, launcher: Launcher, ending: Ending) -> None:
        self._core = core
        self._launcher = launcher
        self._ending = ending
        self._pending: dict[str, Pending] = {}
        ending.before_exit = self._hear_last_words

    def serve_create(self, request: Request) -> None:
        plan = decode_plan(request.args["plan"])
        if check_id(plan.container_id) in self._core.containers:
            raise AlreadyExists(f"container {plan.container_id} exists already")
        container = self._core.new_container(plan.container_id, plan.cgroup.path)
        os.makedirs(container.directory, mode=0o700)
        self._core.containers[container.id] = container
        try:
            pending = self._launch(container, plan, request)
        except BaseException:
            self._ending.destroy(container)
            raise
        pending.request = request
        pending.starts = bool(request.args.get("start"))
        self._pending[container.id] = pending
        container.listen()
        self._core.loop.add(pending.report.fileno(), lambda: self._on_report(container))
        self._ending.watch_process(container)

    def _launch(self, container: Container, plan: ContainerPlan, request: Request) -> Pending:
        args = request.args
        container.log.open(args["log_path"], args.get("log_max_size_bytes", 0), args.get("log_max_files", 1))
        container.stdin_mode = ("once" if args["stdin_once"] else "open") if args["stdin"] else ""
        container.save()  # "creating": whoever finds that clears it away
        if container.group is not None:
            container.group.make()
            container.group.apply(plan.cgroup.writes)
        pending = self._launcher.start_container(container, plan)
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
        if pending is not None and pending.request is not None:
            raise FailedPrecondition(f"container {container.id} is being started already")
        self._start(container)
        if pending is None:  # made by an earlier supervisor: nobody will report
            container.status = "running"
            request.answer({"started_at_ns": container.started_at_ns})
        else:
            pending.request = request

    def _start(self, container: Container) -> None:
        """First written down, then done: a new supervisor opens the gate of one that is "starting" again."""
        container.status = "starting"
        container.started_at_ns = time.time_ns()
        container.save()
        container.status = "created"
        container.open_gate()

    def _on_report(self, container: Container) -> None:
        """The new process is ready, has failed, or is now the container's program."""
        pending = self._pending.get(container.id)
        if pending is None:
            return
        report = pending.receive()
        if report.terminal_fd >= 0:
            container.open_terminal(report.terminal_fd)
        if report.kind == "ready":
            self._on_ready(container, pending)
        elif report.kind == "error" and report.error is not None:
            pending.error = report.error
        elif report.kind == "end":
            self._end_pending(container, pending)

    def _on_ready(self, container: Container, pending: Pending) -> None:
        self._core.hold(container)
        container.status = "created"
        if pending.starts:
            self._start(container)
        else:
            container.save()
            pending.answer({"pid": container.pid})

    def _end_pending(self, container: Container, pending: Pending) -> None:
        """The report socket has closed: by execve(2), or because the process died."""
        self._core.loop.remove(pending.report.fileno())
        pending.report.close()
        del self._pending[container.id]
        if container.status == "created" and pending.error is None:
            container.status = "running"
            pending.answer({"pid": container.pid, "started_at_ns": container.started_at_ns})
        elif container.status == "creating":
            self._ending.failed[container.id] = pending  # told when nothing is left of it
        elif pending.error is not None:
            pending.fail(pending.error)

    def _hear_last_words(self, container: Container) -> None:
        """All that its first process reported before it ended."""
        while container.id in self._pending:
            self._on_report(container)

    def close(self) -> None:
        for pending in self._pending.values():
            pending.report.close()
