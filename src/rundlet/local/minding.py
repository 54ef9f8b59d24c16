"""Does what is due for this machine's containers: `local.duties` decides, this carries it out.

One look goes over all of them; what takes time (a check, a stop) goes on in a thread of its own, one at
a time for each container.  Every act is safe to be cut off and to be done by two at once: it holds the
container's lock, and sees there whether it is still due.
"""

import signal
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.names import is_alive
from rundlet.engine.options import ContainerFilter, PodFilter
from rundlet.engine.status import ContainerStatus
from rundlet.engine.undo import attempt
from rundlet.errors import FailedPrecondition, NotFound
from rundlet.local import health
from rundlet.local.containers import Containers
from rundlet.local.duties import Duty, Life, Moment, choose_pause, find_duty, is_minded
from rundlet.local.options import HealthCheck
from rundlet.local.records import Health, LocalRecord, LocalRecords, LocalState, Probe
from rundlet.step import step

_RETRY_S = 5.0
_NS = 10**9


class Outlook(NamedTuple):
    """When to look again (0: an event will say), whether somebody has to be there, whether threads are at work."""

    at_ns: int
    needed: bool
    busy: bool


def read_moment() -> Moment:
    now_ns = time.time_ns()
    return Moment(now_ns, now_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME))


class Minding:
    """`on_done` is called from the thread whose work is done."""

    def __init__(
        self,
        engine: Engine,
        records: LocalRecords,
        containers: Containers,
        on_done: Callable[[], None],
        read_time: Callable[[], Moment] = read_moment,
    ) -> None:
        self._engine = engine
        self._records = records
        self._containers = containers
        self._on_done = on_done
        self._read_time = read_time
        self._guard = threading.Lock()
        self._busy: set[str] = set()

    def look(self) -> Outlook:
        """Begin all that is due."""
        self._engine.reconcile()
        statuses = {s.id: s for s in self._engine.containers.list(ContainerFilter(origin="local"))}
        ready = {pod.id for pod in self._engine.pods.list(PodFilter(state="ready"))}
        moment = self._read_time()
        at_ns, needed = 0, False
        for record in self._records.list():
            status = statuses.get(record.id)
            if status is None or (record.owner and is_alive(record.owner)):
                continue
            life = _see(record, status, ready)
            duty = find_duty(record, life, record.asked.health, moment)
            needed = needed or is_minded(record, life, record.asked.health, moment)
            if duty.act != "none":
                self._begin(record, life, duty)
            elif duty.at_ns:
                at_ns = min(at_ns or duty.at_ns, duty.at_ns)
        with self._guard:
            return Outlook(at_ns, needed, bool(self._busy))

    def _begin(self, record: LocalRecord, life: Life, duty: Duty) -> None:
        with self._guard:
            if record.id in self._busy:
                return
            self._busy.add(record.id)
        threading.Thread(target=self._work, args=(record, life, duty), daemon=True).start()

    def _work(self, record: LocalRecord, life: Life, duty: Duty) -> None:
        try:
            if not attempt(f"{duty.act} container {record.name}", self._act, record, life, duty):
                time.sleep(_RETRY_S)  # it is still due, and would fail at once again
        finally:
            with self._guard:
                self._busy.discard(record.id)
            self._on_done()

    def _act(self, record: LocalRecord, life: Life, duty: Duty) -> None:
        match duty.act:
            case "restart":
                self._containers.start_again(record.id, record.state.restart_at_ns)
            case "settle":
                self._containers.settle(record.id)
            case "kill":
                self._kill(record)
            case "check":
                self._check(record, life)
            case "react":
                self._react(record, life)
            case _:
                self._note(record, life, duty)

    def _note(self, record: LocalRecord, life: Life, duty: Duty) -> None:
        """What only the record changes by, unless it has changed meanwhile."""
        now_ns = self._read_time().now_ns

        def change(state: LocalState) -> LocalState:
            if state != record.state:
                return state
            match duty.act:
                case "count":
                    return replace(state, restarts=state.restarts + 1, restart_at_ns=0)
                case "put-off":
                    pause_s = choose_pause(state.restart_pause_s, life)
                    wanted = replace(state, wanted="running", restart_after=life.number)
                    return put_off(wanted, now_ns, pause_s)
                case "forget-restart":
                    return replace(state, restart_at_ns=0)
                case _:
                    return replace(state, health=health.begin(state.health, life.started_at_ns))

        with step(f"local.{duty.act}", record.id):
            self._records.change_state(record.id, change)
        if duty.act == "count":
            self._engine.journal.note("container", "restart", record.id, record.name, record.asked.image)

    def _kill(self, record: LocalRecord) -> None:
        try:
            self._engine.containers.kill(record.id, signal.SIGKILL)
        except (NotFound, FailedPrecondition):
            return  # it has just ended
        self._engine.containers.wait(record.id)

    def _check(self, record: LocalRecord, life: Life) -> None:
        check = record.asked.health
        if check is not None:
            check_health(self._engine, self._records, record, check, life.started_at_ns)

    def _react(self, record: LocalRecord, life: Life) -> None:
        """To a container that is unhealthy; its end is the proof that this was done."""
        match record.asked.health.on_failure if record.asked.health else "none":
            case "kill":
                self._kill(record)
            case "stop":
                self._containers.stop(record.id)
            case "restart":
                now_ns = self._read_time().now_ns
                self._records.change_state(
                    record.id,
                    lambda state: replace(state, restart_at_ns=now_ns, restart_after=life.number),
                )
                self._engine.containers.stop(record.id, record.asked.stop_timeout_s)


def put_off(state: LocalState, now_ns: int, pause_s: float) -> LocalState:
    return replace(state, restart_at_ns=now_ns + int(pause_s * _NS), restart_pause_s=pause_s)


def _see(record: LocalRecord, status: ContainerStatus, ready: set[str]) -> Life:
    return Life(
        number=status.lives,
        state=status.state,
        exit_code=status.exit_code if status.exit_code is not None else 0,
        started_at_ns=status.started_at_ns,
        finished_at_ns=status.finished_at_ns,
        network_is_up=record.own_pod and record.pod_id in ready,
    )


def check_health(
    engine: Engine, records: LocalRecords, record: LocalRecord, check: HealthCheck, life_ns: int
) -> Health:
    """Run a container's check, write down what came of it, and tell."""
    known = health.begin(record.state.health, life_ns)
    probe: Probe = health.run_check(engine, record.id, health.find_current(known, check) or check)
    with step("local.note-probe", record.id):
        state = records.change_state(record.id, lambda state: _note_probe(state, check, probe, life_ns))
    engine.journal.note(
        "container", "health_status", record.id, record.name, record.asked.image, health=state.health.status
    )
    return state.health


def _note_probe(state: LocalState, check: HealthCheck, probe: Probe, life_ns: int) -> LocalState:
    return replace(state, health=health.note(health.begin(state.health, life_ns), check, probe))
