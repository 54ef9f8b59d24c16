"""What is due for one container without anybody asking: restarts, health checks, time limits, clean-up.  Pure.

    it runs     its restart is counted · it ran over its time → killed · a check is due → run ·
                it is unhealthy → killed, stopped or restarted as asked
    it ended    its policy wants it back → a restart is put off, then done · else its network is let go,
                or all of it (`--rm`)

Policies are Docker's: `always` brings back what a boot ended, even if a person had stopped it before;
`unless-stopped` does unless a person had; `on-failure` restarts what ends with another code than 0, at
most so often, and not what a boot ended.  A restart comes 100 ms after the end, each further one after
twice the time up to a minute; a life of 10 s makes it 100 ms again.

Whoever is killed in between has done no harm: each duty is seen from the records and the engine's state
alone, and what was done is seen as done (a restart by a life later than the one that it follows).
"""

from typing import Literal, NamedTuple

from rundlet.local.health import find_current, find_due
from rundlet.local.options import HealthCheck, RestartPolicy, RunOptions
from rundlet.local.records import Health, LocalRecord, LocalState

Act = Literal[
    "none",
    "count",
    "put-off",
    "forget-restart",
    "restart",
    "settle",
    "kill",
    "begin-health",
    "check",
    "react",
]

_NS = 10**9
_PAUSE_S = 0.1
_PAUSE_MAX_S = 60.0
_LONG_LIFE_S = 10.0
NEVER = 0


class Life(NamedTuple):
    """The engine's view of one container; `network_is_up` says that its own pod still has its network.

    `number` counts how often it was made ready to start.
    """

    number: int
    state: str
    exit_code: int
    started_at_ns: int
    finished_at_ns: int
    network_is_up: bool


class Duty(NamedTuple):
    """What to do now, or, with "none", when to look again (NEVER: an event will say)."""

    act: Act
    at_ns: int = NEVER


class Moment(NamedTuple):
    """When it is, and when the host was booted."""

    now_ns: int
    booted_at_ns: int


def find_duty(record: LocalRecord, life: Life, check: HealthCheck | None, moment: Moment) -> Duty:
    """The first thing that is due."""
    if life.state == "running":
        return _find_running(record, life, check, moment.now_ns)
    if life.state == "exited" or (life.state == "created" and record.state.restart_at_ns):
        return _find_ended(record, life, moment)
    return Duty("none")


def _find_running(record: LocalRecord, life: Life, check: HealthCheck | None, now_ns: int) -> Duty:
    if was_restarted(record.state, life):
        return Duty("count")
    due: list[Duty] = []
    if record.asked.timeout_s:
        due.append(Duty("kill", life.started_at_ns + int(record.asked.timeout_s * _NS)))
    check_duty = _find_check(record.state.health, life, check) if check is not None else None
    if check_duty is not None:
        due.append(check_duty)
    if not due:
        return Duty("none")
    first = min(due, key=lambda duty: duty.at_ns)
    return first if first.at_ns <= now_ns else Duty("none", first.at_ns)


def _find_check(health: Health, life: Life, check: HealthCheck) -> Duty | None:
    """None where nothing is due ever: a check without an interval is run by people only."""
    if health.life_ns != life.started_at_ns:
        return Duty("begin-health")
    if health.status == "unhealthy" and check.on_failure != "none":
        return Duty("react")
    current = find_current(health, check)
    return Duty("check", find_due(health, current)) if current and current.interval_s else None


def _find_ended(record: LocalRecord, life: Life, moment: Moment) -> Duty:
    state = record.state
    if was_restarted(state, life):
        return Duty("count")
    if state.restart_at_ns:
        if state.wanted != "running":
            return Duty("forget-restart")
        return Duty("restart") if state.restart_at_ns <= moment.now_ns else Duty("none", state.restart_at_ns)
    if wants_restart(record, life, moment):
        return Duty("put-off")
    if record.asked.remove or life.network_is_up:
        return Duty("settle")
    return Duty("none")


def was_restarted(state: LocalState, life: Life) -> bool:
    """Whether the restart that is due was done already, by somebody who could not write that down."""
    return bool(state.restart_at_ns) and life.state != "created" and life.number > state.restart_after


def wants_restart(record: LocalRecord, life: Life, moment: Moment) -> bool:
    """Whether the policy brings back a container that has ended."""
    policy, was_wanted = record.asked.restart, record.state.wanted == "running"
    ended_by_boot = 0 < life.started_at_ns < moment.booted_at_ns
    match policy.name:
        case "always":
            return was_wanted or ended_by_boot
        case "unless-stopped":
            return was_wanted
        case "on-failure":
            return (
                was_wanted and not ended_by_boot and _may_retry(policy, life.exit_code, record.state.restarts)
            )
    return False


def _may_retry(policy: RestartPolicy, exit_code: int, restarts: int) -> bool:
    return exit_code != 0 and (not policy.max_retries or restarts < policy.max_retries)


def choose_pause(last_pause_s: float, life: Life) -> float:
    """Seconds between this end and the restart, when `last_pause_s` were before the life that has ended."""
    began_ns = life.started_at_ns or life.finished_at_ns
    if not last_pause_s or life.finished_at_ns - began_ns >= _LONG_LIFE_S * _NS:
        return _PAUSE_S
    return min(2 * last_pause_s, _PAUSE_MAX_S)


def is_minded(record: LocalRecord, life: Life, check: HealthCheck | None, moment: Moment) -> bool:
    """Whether somebody has to be there for this container: it runs, is just being started, or something is due."""
    is_starting = life.state == "created" and record.state.wanted == "running"
    return is_starting or life.state == "running" or find_duty(record, life, check, moment) != Duty("none")


def needs_look(asked: RunOptions) -> bool:
    """Whether a container that has just been started has to be looked at before it ends."""
    return asked.health is not None or asked.timeout_s > 0


def is_demanding(asked: RunOptions) -> bool:
    """Whether it wants more than to be settled at its end."""
    return needs_look(asked) or asked.restart.name != "no"
