"""Containers that another program makes: an OCI runtime of any make, or bubblewrap.

    create   RUNTIME create --bundle B --pid-file F ID    ends; the container's init is left behind
             RUNTIME restore --detach --image-path I …    the same, for one from a checkpoint, which runs then
    start    RUNTIME start ID
    signal   RUNTIME kill ID NUMBER
    update   RUNTIME update --resources F ID
    exec     `external_exec`
    delete   RUNTIME delete --force ID

The runtime's process is a child of the supervisor and never waited for: its pidfd is in the
loop.  What it leaves behind falls to the anchor, the subreaper, and is watched like a container
of an earlier supervisor (`adopted`).  A runtime writes its complaints to a --log of its own in
JSON; its stdout and stderr are the container's from the first moment, so they are read only
when the container has been made.

bubblewrap has one verb.  `external_bwrap.drive` stands for its create, the gate's FIFO for its
start; the rest is done as for a container of our own.

    containers/ID/external               JSON: the plan; who finds it knows whom to ask
    containers/ID/runtime.N.log          while the runtime works
    containers/ID/console.N              the same, for one with a terminal
"""

import os
import signal
import sys
import time
from collections.abc import Callable

from rundlet.errors import Error, FailedPrecondition
from rundlet.keeper.container import STATE_FILE, Container
from rundlet.keeper.core import Core
from rundlet.keeper.creation import prepare_container, reserve_container
from rundlet.keeper.ending import Ending
from rundlet.keeper.execs import Execs
from rundlet.keeper.external_bwrap import drive
from rundlet.keeper.external_exec import ExternalExecs
from rundlet.keeper.external_job import ConsoleSocket, Job, open_pidfd, read_pid, remove_files
from rundlet.keeper.external_runtimes import Runtimes
from rundlet.keeper.files import read_json, write_json
from rundlet.keeper.identity import read_start_time
from rundlet.keeper.launch import Launcher
from rundlet.keeper.server import Request, Verb
from rundlet.plan.external import BwrapPlan, ExternalPlan, OciPlan, decode_external, encode_external
from rundlet.runtime.init import Stdio

PLAN_FILE = "external"
_BWRAP_TIMEOUT_S = 30.0  # its driver gives up before


class _Made:
    """What is known of one external container besides its `Container`."""

    __slots__ = ("creation", "is_deleted", "plan")

    def __init__(self, plan: ExternalPlan) -> None:
        self.plan = plan
        self.creation: Job | None = None
        # bubblewrap keeps nothing that would have to be deleted.
        self.is_deleted = isinstance(plan, BwrapPlan)


class Externals:
    """The external containers of one supervisor, and the runtimes that are at work."""

    def __init__(self, core: Core, launcher: Launcher, ending: Ending, execs: Execs) -> None:
        self._core = core
        self._launcher = launcher
        self._ending = ending
        self._runtimes = Runtimes(core, ending)
        self.execs = ExternalExecs(core, launcher, execs, self._runtimes)
        self._made: dict[str, _Made] = {}
        ending.may_destroy = self._may_destroy
        ending.before_destroy = self._delete
        self._load()

    def divert(self, ours: Callable[[Container, OciPlan, Request], None], usual: Verb) -> Verb:
        """A verb that goes to the runtime for the containers of one."""

        def serve(request: Request) -> None:
            container = self._core.containers.get(request.args["container_id"])
            plan = self._made[container.id].plan if container and container.id in self._made else None
            if container is not None and isinstance(plan, OciPlan):
                ours(container, plan, request)
            else:
                usual(request)

        return serve

    # -- create -----------------------------------------------------------------

    def serve_create(self, request: Request) -> None:
        """Begin to make it; answered when it is made, or when nothing is left of it."""
        plan = decode_external(request.args["plan"])
        cgroup = plan.cgroup.path if isinstance(plan, BwrapPlan) else plan.cgroup
        container = reserve_container(self._core, plan.container_id, cgroup)
        try:
            write_json(f"{container.directory}/{PLAN_FILE}", encode_external(plan))
            prepare_container(container, request)
            self._begin(container, plan, request)
        except BaseException:
            self._made.pop(container.id, None)
            self._ending.destroy(container)
            raise

    def _begin(self, container: Container, plan: ExternalPlan, request: Request) -> None:
        made = self._made[container.id] = _Made(plan)
        console = None
        borrowed: list[int] = []
        terminal = isinstance(plan, OciPlan) and plan.terminal
        try:
            stdio = self._launcher.open_stdio(container, terminal, borrowed)
            if terminal:
                console = ConsoleSocket(container.directory)
            if isinstance(plan, OciPlan):
                made.creation = self._run_create(container, plan, stdio, console)
            else:
                made.creation = self._run_bwrap(container, plan, stdio)
        except BaseException:
            if console is not None:
                console.close()
            raise
        finally:
            for fd in borrowed:
                os.close(fd)
        job = made.creation
        limit_s = plan.timeout_s if isinstance(plan, OciPlan) else _BWRAP_TIMEOUT_S
        job.watch(self._core.loop, lambda: self._on_created(container, made, job, console, request), limit_s)

    def _run_create(
        self, container: Container, plan: OciPlan, stdio: Stdio, console: ConsoleSocket | None
    ) -> Job:
        verb = ["restore", "--detach", "--image-path", plan.images] if plan.images else ["create"]
        verb += ["--bundle", plan.bundle, "--pid-file", f"{container.directory}/pid"]
        verb += ["--console-socket", console.path] if console else []
        return self._runtimes.spawn(container, plan, [*verb, container.id], stdio)

    def _run_bwrap(self, container: Container, plan: BwrapPlan, stdio: Stdio) -> Job:
        if container.group is not None:
            container.group.make()
            container.group.apply(plan.cgroup.writes)
        return drive(container, plan, stdio, self._runtimes.next_log(container))

    def _on_created(
        self, container: Container, made: _Made, job: Job, console: ConsoleSocket | None, request: Request
    ) -> None:
        made.creation = None
        try:
            job.check(lambda: _read_held(container))
            if console is not None:
                container.open_terminal(console.take_master())
            pid = read_pid(f"{container.directory}/pid")
        except Error as error:
            self._give_up(container, made, error, request)
            return
        finally:
            if console is not None:
                console.close()
        self._adopt(container, pid, runs=isinstance(made.plan, OciPlan) and bool(made.plan.images))
        request.answer({"pid": container.pid})

    def _adopt(self, container: Container, pid: int, *, runs: bool) -> None:
        """From here on it is like a container of an earlier supervisor; a restored one runs already."""
        if container.group is not None:
            container.group.settle()
        container.adopted = True
        container.pid = pid
        container.pidfd = open_pidfd(pid)
        container.start_time = read_start_time(pid)
        container.status = "running" if runs else "created"
        container.started_at_ns = time.time_ns() if runs else 0
        container.save()
        self._core.hold(container)
        container.listen()
        if container.pidfd >= 0:
            self._ending.watch_process(container)
        else:
            status, finished_at_ns = self._runtimes.recall(pid)
            self._ending.finish(container, status, finished_at_ns)

    def _give_up(self, container: Container, made: _Made, error: Error, request: Request) -> None:
        """The request hears of it when nothing is left."""

        def end() -> None:
            self._made.pop(container.id, None)
            self._ending.destroy(container)
            request.fail(error)

        self._run_delete(container, made, end)

    # -- start and signal -------------------------------------------------------------

    def serve_start(self, container: Container, plan: OciPlan, request: Request) -> None:
        if container.status != "created":
            raise FailedPrecondition(
                f"container {container.id} is {container.status}: only a created one can be started"
            )
        container.status = "starting"
        try:
            container.save()
            job = self._runtimes.spawn(container, plan, ["start", container.id])
        except BaseException:
            container.status = "created"  # it can be asked for again
            raise
        job.watch(self._core.loop, lambda: self._on_started(container, job, request), plan.timeout_s)

    def _on_started(self, container: Container, job: Job, request: Request) -> None:
        try:
            job.check()
        except Error as error:
            if container.exit is None:
                container.status = "created"
            request.fail(error)
            return
        container.started_at_ns = time.time_ns()
        if container.exit is None:
            container.status = "running"
            container.save()
        request.answer({"started_at_ns": container.started_at_ns})

    def serve_signal(self, container: Container, plan: OciPlan, request: Request) -> None:
        """By the runtime; SIGKILL reaches the processes even when the runtime is of no help."""
        if container.exit is not None:
            raise FailedPrecondition(f"container {container.id} has stopped: there is nothing to signal")
        job = self._runtimes.spawn(container, plan, ["kill", container.id, str(request.args["signum"])])
        job.watch(self._core.loop, lambda: self._on_signalled(container, job, request), plan.timeout_s)

    def _on_signalled(self, container: Container, job: Job, request: Request) -> None:
        is_kill = request.args["signum"] == signal.SIGKILL
        try:
            job.check()
        except Error as error:
            if not is_kill and container.exit is None:
                request.fail(error)
                return
        if is_kill and container.exit is None:
            self._kill(container, everyone=bool(request.args["all"]))
        request.answer({})

    def _kill(self, container: Container, *, everyone: bool) -> None:
        if container.pidfd >= 0:
            container.send_signal(signal.SIGKILL)
        if everyone and container.group is not None:
            container.group.kill()

    def serve_update(self, container: Container, plan: OciPlan, request: Request) -> None:
        """Other limits: `resources` in the JSON of config.json."""
        path = f"{container.directory}/resources.{self._runtimes.next_number()}.json"
        write_json(path, request.args["resources"])
        job = self._runtimes.spawn(container, plan, ["update", "--resources", path, container.id])

        def end() -> None:
            remove_files(path)
            error = job.error()
            request.fail(error) if error else request.answer({})

        job.watch(self._core.loop, end, plan.timeout_s)

    # -- delete -------------------------------------------------------------------------

    def _may_destroy(self, container: Container) -> bool:
        """Not before its runtime has deleted it."""
        made = self._made.get(container.id)
        return made is None or (made.is_deleted and made.creation is None)

    def _delete(self, container: Container) -> None:
        """Somebody wants it gone; it is destroyed when the runtime has forgotten it and its init has ended."""
        made = self._made[container.id]
        if made.creation is not None:
            made.creation.kill()  # whoever waits for the creation deletes the rest
        else:
            self._run_delete(container, made, lambda: self._end(container))

    def _run_delete(self, container: Container, made: _Made, then: Callable[[], None]) -> None:
        if not isinstance(made.plan, OciPlan):
            then()
            return
        try:
            job = self._runtimes.spawn(container, made.plan, ["delete", "--force", container.id])
        except Error as error:
            self._on_deleted(made, error, then)
            return
        limit_s = made.plan.timeout_s
        job.watch(self._core.loop, lambda: self._on_deleted(made, job.error(), then), limit_s)

    def _on_deleted(self, made: _Made, error: Error | None, then: Callable[[], None]) -> None:
        if error is not None:
            print(error.message, file=sys.stderr, flush=True)  # the processes are killed all the same
        made.is_deleted = True
        then()

    def _end(self, container: Container) -> None:
        self._made.pop(container.id, None)
        if container.exit is None and container.pid:
            self._kill(container, everyone=True)
        self._ending.end(container)

    # -- after a supervisor's death --------------------------------------------------------------

    def _load(self) -> None:
        """Whose containers there are, before they are restored."""
        for name in self._core.container_directories():
            raw = read_json(f"{self._core.directory}/containers/{name}/{PLAN_FILE}")
            if raw is not None:
                self._made[name] = _Made(decode_external(raw))

    def resume(self) -> None:
        """Start those again that the last supervisor was starting; a runtime refuses what runs already."""
        for container in self._core.containers.values():
            made = self._made.get(container.id)
            if made is None or not isinstance(made.plan, OciPlan) or container.exit is not None:
                continue
            if read_json(f"{container.directory}/{STATE_FILE}")["status"] == "starting":
                job = self._runtimes.spawn(container, made.plan, ["start", container.id])
                job.watch(self._core.loop, lambda: None, made.plan.timeout_s)


def _read_held(container: Container) -> bytes:
    """What stands unread in the container's stderr: nobody has listened to it yet."""
    try:
        fd = os.open(f"{container.directory}/stderr", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""  # it has a terminal
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""
    finally:
        os.close(fd)
