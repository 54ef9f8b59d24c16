"""The supervisor: one thread that starts containers, watches them and answers the engine.

It forks instead of executing a helper, so a container costs a fork of a small
warm process.  Requests arrive on the socket that the anchor opened; exits arrive
by pidfd, or from the anchor for containers that an earlier supervisor made.
"""

import os
import re
import signal
import socket
import time
from typing import Any, NamedTuple, NoReturn

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.cgroup.stats import read_oom_kills
from rundlet.errors import AlreadyExists, Error, FailedPrecondition, InvalidArgument, NotFound
from rundlet.keeper import launch
from rundlet.keeper.container import Container, read_start_time, restore_container
from rundlet.keeper.execs import Execs
from rundlet.keeper.loop import Loop
from rundlet.keeper.pods import Init, Pods
from rundlet.keeper.protocol import PROTOCOL_VERSION, ExitRecord, keeper_dir
from rundlet.keeper.server import Request, Server
from rundlet.kernel.capability import last_capability
from rundlet.plan.container import decode_plan
from rundlet.runtime.init import Machine
from rundlet.runtime.terminal import set_size

LINGER_S = 1.0
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


class Orphan(NamedTuple):
    """A process that the anchor reaped because whoever made it has gone."""

    pid: int
    wait_status: int
    finished_at_ns: int


def check_id(text: str) -> str:
    """An id becomes a directory name."""
    if not _ID.match(text):
        raise InvalidArgument(
            f"keeper: {text!r} cannot be an id", hint="letters, digits, '_', '.', '-'; at most 128"
        )
    return text


class Supervisor:
    """All state of one keeper process; every method runs in its one thread."""

    def __init__(self, run_root: str, listener: socket.socket, anchor: socket.socket) -> None:
        self.directory = keeper_dir(run_root)
        self.loop = Loop()
        self.layout = detect_layout()
        self.machine = Machine(os.uname().machine, last_capability())
        self.pods = Pods(f"{self.directory}/pods", self.machine.architecture)
        self.containers: dict[str, Container] = {}
        self.launcher = launch.Launcher(self.machine)
        self.execs = Execs(self.loop, self.launcher)
        self._pending: dict[str, launch.Pending] = {}
        self._failed: dict[str, launch.Pending] = {}
        self._waiting: dict[str, list[Request]] = {}
        self._deleting: dict[str, list[Request]] = {}
        self._watching: list[Request] = []
        self._anchor = anchor
        anchor.setblocking(False)
        verbs = {
            name: getattr(self, f"serve_{name}")
            for name in (
                "version", "make_pod", "remove_pod", "pod_socket", "create", "start", "signal", "wait", "delete",
                "state", "list", "exec", "signal_exec", "reopen_log", "watch", "attach", "resize",
            )
        }  # fmt: skip
        self.server = Server(self.loop, listener, verbs)

    # -- life -------------------------------------------------------------------

    def run(self) -> NoReturn:
        """Serve until there is nothing left to keep; ends the process."""
        self._restore()
        self.loop.add(self._anchor.fileno(), self._hear_anchor)
        while True:
            idle = not (self.containers or self.server.clients or self.pods.names())
            if not self.loop.turn(LINGER_S if idle else None) and idle:
                self.pods.remove_directory()
                launch.remove_empty(f"{self.directory}/containers")
                os._exit(0)

    def _restore(self) -> None:
        """Take over what an earlier supervisor left running."""
        top = f"{self.directory}/containers"
        for name in os.listdir(top) if os.path.isdir(top) else []:
            container = restore_container(f"{top}/{name}", self._group, self.loop)
            if container is None:
                launch.discard(f"{top}/{name}")
            else:
                self.containers[container.id] = container
        self._hear_anchor()
        for container in self.containers.values():
            self._resume(container)

    def _resume(self, container: Container) -> None:
        if container.exit is not None:
            return
        if read_start_time(container.pid) != container.start_time or not container.start_time:
            self._finish(container, None, time.time_ns())
            return
        container.pidfd = os.pidfd_open(container.pid)
        self.loop.add(container.pidfd, lambda: self._on_exit(container))
        if not container.terminal:
            for name in ("stdout", "stderr"):
                self._listen(container, name)

    def _listen(self, container: Container, name: str) -> None:
        stream = container.open_stream(name)
        self.loop.add(stream.fd, lambda: launch.pump(self.loop, stream))

    def _hear_anchor(self) -> None:
        while True:
            try:
                raw = self._anchor.recv(256)
            except BlockingIOError:
                return
            if not raw:
                self.loop.remove(self._anchor.fileno())
                return
            orphan = Orphan(*map(int, raw.split()))
            for container in list(self.containers.values()):
                if container.pid == orphan.pid and container.exit is None:
                    self._finish(container, orphan.wait_status, orphan.finished_at_ns)

    def _group(self, path: str) -> Group:
        return Group(self.layout, path)

    def _find(self, request: Request) -> Container:
        container_id = request.args["container_id"]
        try:
            return self.containers[container_id]
        except KeyError:
            raise NotFound(f"container {container_id} is not known to the keeper") from None

    # -- pods -------------------------------------------------------------------

    def serve_version(self, request: Request) -> None:
        request.answer({"protocol": PROTOCOL_VERSION, "pid": os.getpid()})

    def serve_make_pod(self, request: Request) -> None:
        args = request.args
        paths, pid, fds = self.pods.make(
            check_id(args["pod_id"]), args["kinds"], args["hostname"], args["sysctls"], args["cgroup"]
        )
        request.answer({"paths": paths, "init_pid": pid}, tuple(fds))
        for fd in fds:
            os.close(fd)

    def serve_remove_pod(self, request: Request) -> None:
        pod_id = check_id(request.args["pod_id"])
        init = self.pods.kill_init(pod_id)
        self.pods.remove(pod_id)
        if init is None:
            request.answer({})
        else:
            self.loop.add(init.pidfd, lambda: self._on_init_exit(init, request))

    def serve_pod_socket(self, request: Request) -> None:
        with self.pods.open_socket(check_id(request.args["pod_id"]), request.args["family"]) as sock:
            request.answer({}, (sock.fileno(),))

    def _on_init_exit(self, init: Init, request: Request) -> None:
        self.loop.remove(init.pidfd)
        os.close(init.pidfd)
        try:
            os.waitpid(init.pid, 0)
        except ChildProcessError:
            pass  # an earlier supervisor made it: the anchor reaps it
        request.answer({})

    # -- create and start -------------------------------------------------------

    def serve_create(self, request: Request) -> None:
        plan = decode_plan(request.args["plan"])
        if check_id(plan.container_id) in self.containers:
            raise AlreadyExists(f"container {plan.container_id} exists already")
        directory = f"{self.directory}/containers/{plan.container_id}"
        os.makedirs(directory, mode=0o700)
        group = self._group(plan.cgroup.path) if plan.cgroup.path else None
        container = Container(plan.container_id, directory, group, self.loop)
        container.stdin_once = bool(request.args["stdin_once"])
        self.containers[container.id] = container
        try:
            container.log.open(request.args["log_path"])
            if group is not None:
                group.make()
                group.apply(plan.cgroup.writes)
            pending = self.launcher.start_container(container, plan, bool(request.args["stdin"]))
        except BaseException:
            self._destroy(container)
            raise
        pending.request = request
        self._pending[container.id] = pending
        for stream in container.streams:
            self.loop.add(stream.fd, lambda stream=stream: launch.pump(self.loop, stream))  # type: ignore[misc]
        self.loop.add(pending.report.fileno(), lambda: self._on_report(container))
        self.loop.add(container.pidfd, lambda: self._on_exit(container))

    def serve_start(self, request: Request) -> None:
        container = self._find(request)
        if container.status != "created":
            raise FailedPrecondition(
                f"container {container.id} is {container.status}: only a created one can be started"
            )
        pending = self._pending.get(container.id)
        if pending is not None and pending.request is not None:
            raise FailedPrecondition(f"container {container.id} is being started already")
        container.open_gate()
        if pending is None:  # made by an earlier supervisor: nobody will report
            self._mark_running(container)
            request.answer({"started_at_ns": container.started_at_ns})
        else:
            pending.request = request

    def _mark_running(self, container: Container) -> None:
        container.status = "running"
        container.started_at_ns = time.time_ns()
        container.save()

    def _on_report(self, container: Container) -> None:
        """The new process is ready, has failed, or is now the container's program."""
        pending = self._pending.get(container.id)
        if pending is None:
            return
        report = pending.receive()
        if report.terminal_fd >= 0:
            self._take_terminal(container, report.terminal_fd)
        if report.kind == "ready":
            container.status = "created"
            container.save()
            pending.answer({"pid": container.pid})
        elif report.kind == "error" and report.error is not None:
            pending.error = report.error
        elif report.kind == "end":
            self._end_pending(container, pending)

    def _take_terminal(self, container: Container, fd: int) -> None:
        stream = container.take_terminal(fd)
        self.loop.add(fd, lambda: launch.pump(self.loop, stream))

    def _end_pending(self, container: Container, pending: launch.Pending) -> None:
        """The report socket has closed: by execve(2), or because the process died."""
        self.loop.remove(pending.report.fileno())
        pending.report.close()
        del self._pending[container.id]
        if container.status == "created" and pending.error is None:
            self._mark_running(container)
            pending.answer({"started_at_ns": container.started_at_ns})
        elif container.status == "creating":
            self._failed[container.id] = pending  # told when nothing is left of it
        elif pending.error is not None:
            pending.fail(pending.error)

    # -- exit and delete --------------------------------------------------------

    def _on_exit(self, container: Container) -> None:
        while container.id in self._pending:
            self._on_report(container)
        self.loop.remove(container.pidfd)
        try:
            _, wait_status = os.waitpid(container.pid, 0)
        except ChildProcessError:
            return  # not our child: the anchor reaps it and tells
        self._finish(container, wait_status, time.time_ns())

    def _finish(self, container: Container, wait_status: int | None, finished_at_ns: int) -> None:
        if container.status == "creating":
            self._destroy(container)
            pending = self._failed.pop(container.id)
            died = FailedPrecondition(f"container {container.id}: its first process died before it was ready")
            pending.fail(pending.error or died)
            return
        oom_killed = container.group is not None and read_oom_kills(container.group) > 0
        record = container.finish(wait_status, finished_at_ns, oom_killed)
        self._end_streams(container)
        for request in self._waiting.pop(container.id, []):
            request.answer({"exit": record})
        self._tell_watchers(record)
        if container.id in self._deleting:
            self._destroy(container)

    def _tell_watchers(self, record: ExitRecord) -> None:
        self._watching = [request for request in self._watching if not request.is_abandoned]
        for request in self._watching:
            request.answer({"exit": record})

    def _destroy(self, container: Container) -> None:
        """Nothing of it is left afterwards; whoever asked for that is told."""
        failure: Error | None = None
        self._end_streams(container)
        self.loop.remove(container.pidfd)
        container.close()
        try:
            if container.group is not None:
                container.group.kill()
                container.group.remove()
        except Error as error:
            failure = error
        container.remove_files()
        self.containers.pop(container.id, None)
        for request in self._deleting.pop(container.id, []):
            request.fail(failure) if failure else request.answer({})

    def _end_streams(self, container: Container) -> None:
        for stream in container.streams:
            self.loop.remove(stream.fd)
        container.end_streams()

    def serve_delete(self, request: Request) -> None:
        container = self.containers.get(request.args["container_id"])
        if container is None:
            request.answer({})
            return
        self._deleting.setdefault(container.id, []).append(request)
        if container.exit is not None:
            self._destroy(container)
        else:
            container.send_signal(signal.SIGKILL)

    # -- the rest ---------------------------------------------------------------

    def serve_signal(self, request: Request) -> None:
        container = self._find(request)
        if container.exit is not None:
            raise FailedPrecondition(f"container {container.id} has stopped: there is nothing to signal")
        if request.args["all"] and container.group is not None:
            container.signal_everyone(request.args["signum"])
        else:
            container.send_signal(request.args["signum"])
        request.answer({})

    def serve_wait(self, request: Request) -> None:
        container = self._find(request)
        if container.exit is not None:
            request.answer({"exit": container.exit})
        else:
            self._waiting.setdefault(container.id, []).append(request)

    def serve_state(self, request: Request) -> None:
        request.answer({"state": self._find(request).state()})

    def serve_list(self, request: Request) -> None:
        request.answer({"states": {key: value.state() for key, value in self.containers.items()}})

    def serve_exec(self, request: Request) -> None:
        container = self._find(request)
        if container.status != "running" or container.pidfd < 0:
            raise FailedPrecondition(
                f"container {container.id} is {container.status}: exec needs a running one"
            )
        self.execs.start(container, request)

    def serve_signal_exec(self, request: Request) -> None:
        self.execs.send_signal(request.args["exec_id"], request.args["signum"])
        request.answer({})

    def serve_reopen_log(self, request: Request) -> None:
        container = self._find(request)
        if container.exit is not None:
            raise FailedPrecondition(f"container {container.id} has stopped: its log is complete")
        container.log.reopen()
        request.answer({})

    def serve_attach(self, request: Request) -> None:
        container = self._find(request)
        if container.exit is not None:
            raise FailedPrecondition(f"container {container.id} has stopped: there is nothing to attach to")
        with container.audience.admit(has_stdin=bool(request.args["stdin"])) as theirs:
            request.answer({}, (theirs.fileno(),))

    def serve_resize(self, request: Request) -> None:
        container = self._find(request)
        if not container.stdin.is_terminal:
            raise FailedPrecondition(f"container {container.id} has no terminal to resize")
        set_size(container.stdin.fd, request.args["height"], request.args["width"])
        request.answer({})

    def serve_watch(self, request: Request) -> None:
        self._watching.append(request)
        request.answer({})


def run_supervisor(run_root: str, listener: socket.socket, anchor: socket.socket) -> Any:
    """The supervisor's process; never returns."""
    Supervisor(run_root, listener, anchor).run()
