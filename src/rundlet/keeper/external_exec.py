"""Further processes in a container that a runtime made.

RUNTIME exec --detach --process P --pid-file F ID    ends; the process is left behind
"""

import os

from rundlet.errors import Error, FailedPrecondition
from rundlet.keeper.container import Container
from rundlet.keeper.core import Core
from rundlet.keeper.execs import Deliver, Execs
from rundlet.keeper.external_job import ConsoleSocket, Job, open_pidfd, read_pid, remove_files
from rundlet.keeper.external_runtimes import Runtimes
from rundlet.keeper.files import write_json
from rundlet.keeper.launch import Launcher
from rundlet.keeper.server import Request
from rundlet.kernel.clone import Cloned
from rundlet.plan.external import OciPlan


class ExternalExecs:
    """Exec by the runtimes of one supervisor's containers."""

    def __init__(self, core: Core, launcher: Launcher, execs: Execs, runtimes: Runtimes) -> None:
        self._core = core
        self._launcher = launcher
        self._execs = execs
        self._runtimes = runtimes

    def serve_exec(self, container: Container, plan: OciPlan, request: Request) -> None:
        """The request brings `config`, a process of config.json; it is answered as for `Execs.serve_exec`."""
        if container.status != "running":
            raise FailedPrecondition(
                f"container {container.id} is {container.status}: exec needs a running one"
            )
        stem = f"{container.directory}/process.{self._runtimes.next_number()}"
        write_json(f"{stem}.json", request.args["config"])
        verb = ["exec", "--detach", "--process", f"{stem}.json", "--pid-file", f"{stem}.pid"]
        verb += ["--internal-pid-file", f"{stem}.inner"] if plan.sandboxed else []
        console = ConsoleSocket(container.directory) if request.args["config"].get("terminal") else None
        verb += ["--console-socket", console.path] if console else []
        job = self._runtimes.spawn(
            container, plan, [*verb, container.id], self._launcher.choose_stdio(request)
        )
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
            pid = read_pid(f"{stem}.pid")
            deliver = self._delivery(container, plan, read_pid(f"{stem}.inner")) if plan.sandboxed else None
            master = console.take_master() if console else -1
        except Error as error:
            request.fail(error)
            return
        finally:
            remove_files(f"{stem}.json", f"{stem}.pid", f"{stem}.inner")
            if console is not None:
                console.close()
        child = Cloned(pid, open_pidfd(pid))
        exec_id = self._execs.take_over(container, child, request, master, deliver)
        if master >= 0:
            os.close(master)
        if child.pidfd < 0:
            self._execs.end_unseen(exec_id, *self._runtimes.recall(pid))

    def _delivery(self, container: Container, plan: OciPlan, pid: int) -> Deliver:
        """How a signal comes to the process that has `pid` inside the sandbox."""

        def deliver(number: int) -> None:
            job = self._runtimes.spawn(
                container, plan, ["kill", "--pid", str(pid), container.id, str(number)]
            )
            job.watch(self._core.loop, lambda: None, plan.timeout_s)

        return deliver
