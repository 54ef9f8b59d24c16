"""What every verb of an external container needs: its runtime run, and the ends of processes that nobody awaited yet."""

import itertools
import time
from collections.abc import Sequence

from rundlet.keeper.container import Container
from rundlet.keeper.core import Core
from rundlet.keeper.ending import Ending
from rundlet.keeper.external_job import Job, spawn
from rundlet.keeper.link import Ended
from rundlet.plan.external import OciPlan
from rundlet.runtime.init import Stdio
from rundlet.step import step

_STRANGERS_MAX = 256


class Runtimes:
    """The runtimes that one supervisor runs."""

    def __init__(self, core: Core, ending: Ending) -> None:
        self._core = core
        self._ending = ending
        self._numbers = itertools.count(1)
        self._strangers: dict[int, Ended] = {}  # processes that ended before we knew whose they are
        ending.on_stranger = self._remember

    def next_number(self) -> int:
        """For the name of a file of one run."""
        return next(self._numbers)

    def spawn(
        self, container: Container, plan: OciPlan, verb: Sequence[str], stdio: Stdio | None = None
    ) -> Job:
        with step(f"keeper.runtime.{verb[0]}"):
            return spawn([plan.program, *plan.args], verb, self.next_log(container), stdio)

    def next_log(self, container: Container) -> str:
        return f"{container.directory}/runtime.{self.next_number()}.log"

    def _remember(self, ended: Ended) -> None:
        """Nobody's process: a runtime's own, or one whose pid we have still to read."""
        self._strangers[ended.pid] = ended
        while len(self._strangers) > _STRANGERS_MAX:
            del self._strangers[next(iter(self._strangers))]

    def recall(self, pid: int) -> tuple[int | None, int]:
        """Wait status and time of a process that has been reaped; (None, now) when nobody told."""
        self._ending.take_exits(self._core.anchor.sync())
        ended = self._strangers.pop(pid, None)
        return (ended.wait_status, ended.finished_at_ns) if ended else (None, time.time_ns())
