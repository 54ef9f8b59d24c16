"""Containers that another program makes: an OCI runtime of any make, or bubblewrap.

    create   RUNTIME create --bundle B --pid-file F ID    ends; the container's init is left behind
             RUNTIME restore --detach --image-path I …    the same, for one from a checkpoint, which runs then
    start    RUNTIME start ID
    signal   RUNTIME kill ID NUMBER
    update   RUNTIME update --resources F ID
    exec     RUNTIME exec --detach --process P --pid-file F ID
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

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from rundlet.errors import Error, FailedPrecondition
from rundlet.keeper.container import STATE_FILE, Container
from rundlet.keeper.core import Core
from rundlet.keeper.creation import prepare_container, reserve_container
from rundlet.keeper.ending import Ending
from rundlet.keeper.execs import Deliver, Execs
from rundlet.keeper.external_bwrap import drive
from rundlet.keeper.external_job import ConsoleSocket, Job, spawn
from rundlet.keeper.files import read_json, write_json
from rundlet.keeper.identity import read_start_time
from rundlet.keeper.launch import Launcher
from rundlet.keeper.link import Ended
from rundlet.keeper.server import Request, Verb
from rundlet.kernel.clone import Cloned
from rundlet.plan.external import BwrapPlan, ExternalPlan, OciPlan, decode_external, encode_external
from rundlet.runtime.init import Stdio
from rundlet.step import step

PLAN_FILE = "external"
_STRANGERS_MAX = 256
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
        self._execs = execs
        self._made: dict[str, _Made] = {}
        self._strangers: dict[int, Ended] = {}  # processes that ended before we knew whose they are
        self._numbers = itertools.count(1)
        ending.may_destroy = self._may_destroy
        ending.before_destroy = self._delete
        ending.on_stranger = self._remember
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

    def _spawn(
        self, container: Container, plan: OciPlan, verb: Sequence[str], stdio: Stdio | None = None
    ) -> Job:
        with step(f"keeper.runtime.{verb[0]}"):
            return spawn([plan.program, *plan.args], verb, self._next_log(container), stdio)

    def _next_log(self, container: Container) -> str:
        return f"{container.directory}/runtime.{next(self._numbers)}.log"

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
        return self._spawn(container, plan, [*verb, container.id], stdio)

    def _run_bwrap(self, container: Container, plan: BwrapPlan, stdio: Stdio) -> Job:
        if container.group is not None:
            container.group.make()
            container.group.apply(plan.cgroup.writes)
        return drive(container, plan, stdio, self._next_log(container))

    def _on_created(
        self, container: Container, made: _Made, job: Job, console: ConsoleSocket | None, request: Request
    ) -> None:
        made.creation = None
        try:
            job.check(lambda: _read_held(container))
            if console is not None:
                container.open_terminal(console.take_master())
            pid = _read_pid(f"{container.directory}/pid")
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
        container.pidfd = _open_pidfd(pid)
        container.start_time = read_start_time(pid)
        container.status = "running" if runs else "created"
        container.started_at_ns = time.time_ns() if runs else 0
        container.save()
        self._core.hold(container)
        container.listen()
        if container.pidfd >= 0:
            self._ending.watch_process(container)
        else:
            status, finished_at_ns = self._recall(pid)
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
            job = self._spawn(container, plan, ["start", container.id])
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
        job = self._spawn(container, plan, ["kill", container.id, str(request.args["signum"])])
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
        path = f"{container.directory}/resources.{next(self._numbers)}.json"
        write_json(path, request.args["resources"])
        job = self._spawn(container, plan, ["update", "--resources", path, container.id])

        def end() -> None:
            _remove(path)
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
            job = self._spawn(container, made.plan, ["delete", "--force", container.id])
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

    # -- exec -----------------------------------------------------------------------------

    def serve_exec(self, container: Container, plan: OciPlan, request: Request) -> None:
        """The request brings `config`, a process of config.json; it is answered as for `Execs.serve_exec`."""
        if container.status != "running":
            raise FailedPrecondition(
                f"container {container.id} is {container.status}: exec needs a running one"
            )
        stem = f"{container.directory}/process.{next(self._numbers)}"
        write_json(f"{stem}.json", request.args["config"])
        verb = ["exec", "--detach", "--process", f"{stem}.json", "--pid-file", f"{stem}.pid"]
        verb += ["--internal-pid-file", f"{stem}.inner"] if plan.sandboxed else []
        console = ConsoleSocket(container.directory) if request.args["config"].get("terminal") else None
        verb += ["--console-socket", console.path] if console else []
        job = self._spawn(container, plan, [*verb, container.id], self._launcher.choose_stdio(request))
        job.watch(
            self._core.loop,
            lambda: self._on_executed(container, plan, job, stem, console, request),
            plan.timeout_s,
        )

    def _on_executed(
        self,
        container: Container,
        plan: OciPlan,
        job: Job,
        stem: str,
        console: ConsoleSocket | None,
        request: Request,
    ) -> None:
        master = -1
        try:
            job.check()
            pid = _read_pid(f"{stem}.pid")
            deliver = self._delivery(container, plan, _read_pid(f"{stem}.inner")) if plan.sandboxed else None
            master = console.take_master() if console else -1
        except Error as error:
            request.fail(error)
            return
        finally:
            _remove(f"{stem}.json", f"{stem}.pid", f"{stem}.inner")
            if console is not None:
                console.close()
        child = Cloned(pid, _open_pidfd(pid))
        exec_id = self._execs.take_over(container, child, request, master, deliver)
        if master >= 0:
            os.close(master)
        if child.pidfd < 0:
            self._execs.end_unseen(exec_id, *self._recall(pid))

    def _delivery(self, container: Container, plan: OciPlan, pid: int) -> Deliver:
        """How a signal comes to the process that has `pid` inside the sandbox."""

        def deliver(number: int) -> None:
            job = self._spawn(container, plan, ["kill", "--pid", str(pid), container.id, str(number)])
            job.watch(self._core.loop, lambda: None, plan.timeout_s)

        return deliver

    # -- what the anchor tells ----------------------------------------------------------------

    def _remember(self, ended: Ended) -> None:
        """Nobody's process: a runtime's own, or one whose pid we have still to read."""
        self._strangers[ended.pid] = ended
        while len(self._strangers) > _STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]

    def _recall(self, pid: int) -> tuple[int | None, int]:
        """Wait status and time of a process that has been reaped; (None, now) when nobody told."""
        self._ending.take_exits(self._core.anchor.sync())
        ended = self._strangers.pop(pid, None)
        return (ended.wait_status, ended.finished_at_ns) if ended else (None, time.time_ns())

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
                job = self._spawn(container, made.plan, ["start", container.id])
                job.watch(self._core.loop, lambda: None, made.plan.timeout_s)


def _open_pidfd(pid: int) -> int:
    """-1 when it has been reaped."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return -1


def _read_pid(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError) as error:
        raise FailedPrecondition(f"the runtime wrote no pid to {path}") from error


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


def _remove(*paths: str) -> None:
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
