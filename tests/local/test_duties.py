"""Restart policies, pauses, health and time limits as values."""

import pytest
from msgspec.structs import replace

from rundlet.local import health
from rundlet.local.duties import Duty, Life, Moment, choose_pause, find_duty, is_minded
from rundlet.local.options import HealthCheck, RestartPolicy, RunOptions
from rundlet.local.records import Health, LocalRecord, LocalState, Probe
from rundlet.spec.image import Healthcheck, parse_image_config

S = 10**9
BOOT = 1000 * S
NOW = Moment(2000 * S, BOOT)


def record(policy: str = "no", wanted: str = "running", retries: int = 0, **state: object) -> LocalRecord:
    asked = RunOptions(restart=RestartPolicy(policy, retries))  # type: ignore[arg-type]
    return LocalRecord("id", "name", "pod", True, "", 0, asked, LocalState(wanted=wanted, **state))  # type: ignore[arg-type]


def ended(code: int = 0, started_s: int = 1500, life_s: int = 1, network: bool = True) -> Life:
    return Life(1, "exited", code, started_s * S, (started_s + life_s) * S, network)


RUNNING = Life(1, "running", 0, 1500 * S, 0, True)


@pytest.mark.parametrize(
    ("policy", "wanted", "code", "before_boot", "comes_back"),
    [
        ("no", "running", 1, False, False),
        ("always", "running", 0, False, True),
        ("always", "stopped", 0, False, False),
        ("always", "stopped", 0, True, True),
        ("unless-stopped", "running", 0, False, True),
        ("unless-stopped", "stopped", 0, True, False),
        ("unless-stopped", "running", 255, True, True),
        ("on-failure", "running", 0, False, False),
        ("on-failure", "running", 1, False, True),
        ("on-failure", "stopped", 137, False, False),
        ("on-failure", "running", 255, True, False),
    ],
)
def test_who_comes_back(policy: str, wanted: str, code: int, before_boot: bool, comes_back: bool) -> None:
    life = ended(code, 500 if before_boot else 1500)
    assert find_duty(record(policy, wanted), life, None, NOW).act == ("put-off" if comes_back else "settle")


def test_retries_have_a_limit() -> None:
    assert find_duty(record("on-failure", retries=2, restarts=1), ended(1), None, NOW).act == "put-off"
    assert find_duty(record("on-failure", retries=2, restarts=2), ended(1), None, NOW).act == "settle"


def test_a_restart_waits_for_its_time_and_for_nobody_else() -> None:
    due_s = 1990
    waiting = record("always", restart_at_ns=due_s * S, restart_after=1)
    assert find_duty(waiting, ended(), None, Moment((due_s - 1) * S, BOOT)) == Duty("none", due_s * S)
    assert find_duty(waiting, ended(), None, NOW).act == "restart"
    assert (
        find_duty(
            record("always", "stopped", restart_at_ns=due_s * S, restart_after=1), ended(), None, NOW
        ).act
        == "forget-restart"
    )


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_restart_that_was_done_and_not_written_down_is_counted_not_done_again(state: str) -> None:
    done = record("always", restart_at_ns=1400 * S, restart_after=1)
    life = (RUNNING if state == "running" else ended())._replace(number=2)
    assert find_duty(done, life, None, NOW).act == "count"


def test_a_container_revived_and_not_started_is_started() -> None:
    half = Life(2, "created", 0, 0, 0, True)
    waiting = record("always", restart_at_ns=1400 * S, restart_after=1)
    assert find_duty(waiting, half, None, NOW).act == "restart"
    assert find_duty(record("always"), half, None, NOW) == Duty("none")


def test_pauses_double_up_to_a_minute_and_a_long_life_ends_that() -> None:
    pauses, last = [], 0.0
    for _ in range(12):
        last = choose_pause(last, ended())
        pauses.append(last)
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == 60.0
    assert choose_pause(60.0, ended(life_s=10)) == 0.1


def test_somebody_is_needed_while_it_is_started_and_while_it_runs() -> None:
    new = Life(1, "created", 0, 0, 0, True)
    assert is_minded(record(), new, None, NOW)
    assert not is_minded(record(wanted="stopped"), new, None, NOW)
    assert is_minded(record(), RUNNING, None, NOW)
    assert not is_minded(record(), ended(network=False), None, NOW)


def test_settled_once_and_no_more() -> None:
    assert find_duty(record(), ended(network=True), None, NOW).act == "settle"
    assert find_duty(record(), ended(network=False), None, NOW) == Duty("none")


def test_a_time_limit_comes_before_a_later_check() -> None:
    limited = record()
    limited = replace(limited, asked=replace(limited.asked, timeout_s=100.0))
    assert find_duty(limited, RUNNING, None, Moment(1550 * S, BOOT)) == Duty("none", 1600 * S)
    assert find_duty(limited, RUNNING, None, NOW).act == "kill"


# -- health ------------------------------------------------------------------------------------

CHECK = HealthCheck(("true",), interval_s=30, retries=3, start_period_s=60)
LIFE_NS = 1500 * S


def probe(at_s: int, code: int) -> Probe:
    return Probe(at_s * S, at_s * S, code)


def test_a_new_life_begins_with_new_health() -> None:
    old = Health("unhealthy", 3, (probe(1400, 1),), life_ns=1300 * S)
    assert find_duty(record(health=old), RUNNING, CHECK, NOW).act == "begin-health"
    assert health.begin(old, LIFE_NS) == Health("starting", life_ns=LIFE_NS)
    assert find_duty(record(health=Health("starting", life_ns=LIFE_NS)), RUNNING, CHECK, NOW) == Duty(
        "check", 1530 * S
    )


def test_failures_of_the_start_period_do_not_count() -> None:
    state = Health("starting", life_ns=LIFE_NS)
    for at_s in (1510, 1520, 1530, 1540):
        state = health.note(state, CHECK, probe(at_s, 1))
    assert (state.status, state.failing_streak) == ("starting", 0)
    for at_s in (1570, 1580, 1590):
        state = health.note(state, CHECK, probe(at_s, 1))
    assert (state.status, state.failing_streak) == ("unhealthy", 3)
    assert len(state.probes) == health.PROBES_KEPT


def test_a_success_ends_the_start_period_and_a_streak() -> None:
    state = health.note(Health("starting", life_ns=LIFE_NS), CHECK, probe(1505, 0))
    assert state.status == "healthy"
    for at_s in (1510, 1515):
        state = health.note(state, CHECK, probe(at_s, 1))
    assert (state.status, state.failing_streak) == ("healthy", 2)
    assert health.note(state, CHECK, probe(1520, 0)).failing_streak == 0


def test_a_check_without_an_interval_is_not_run_again_and_again() -> None:
    by_hand = replace(CHECK, interval_s=0.0)
    assert find_duty(record(health=Health("starting", life_ns=LIFE_NS)), RUNNING, by_hand, NOW) == Duty(
        "none"
    )
    assert find_duty(record(health=Health()), RUNNING, by_hand, NOW).act == "begin-health"


def test_the_check_of_the_beginning_is_run_until_it_succeeds() -> None:
    first = HealthCheck(("ready",), interval_s=1, retries=2)
    check = replace(CHECK, first=first, start_period_s=0.0)
    state = health.begin(Health(), LIFE_NS)
    assert health.find_current(state, check) is first
    assert find_duty(record(health=state), RUNNING, check, NOW) == Duty("check", LIFE_NS + S)
    state = health.note(state, check, probe(1502, 1))
    assert (state.status, state.failing_streak) == ("starting", 1)
    started = health.note(state, check, probe(1503, 0))
    assert (started.status, health.find_current(started, check)) == ("starting", check)
    assert health.note(started, check, probe(1504, 0)).status == "healthy"
    assert health.note(state, check, probe(1503, 1)).status == "unhealthy"


def test_nothing_follows_a_check_of_the_beginning_alone() -> None:
    alone = HealthCheck(first=HealthCheck(("ready",)))
    assert health.choose_check(alone, None) is alone
    state = health.note(health.begin(Health(), LIFE_NS), alone, probe(1503, 0))
    assert (state.status, health.find_current(state, alone)) == ("healthy", None)
    assert find_duty(record(health=state), RUNNING, alone, NOW) == Duty("none")


def test_an_unhealthy_container_is_reacted_to_when_that_was_asked() -> None:
    ill = record(health=Health("unhealthy", 3, (probe(1990, 1),), life_ns=LIFE_NS))
    assert find_duty(ill, RUNNING, CHECK, NOW) == Duty("none", 2020 * S)
    assert find_duty(ill, RUNNING, replace(CHECK, on_failure="kill"), NOW).act == "react"


def test_an_image_brings_its_check() -> None:
    raw = (
        b'{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},'
        b'"config":{"Healthcheck":{"Test":["CMD-SHELL","curl -f localhost"],"Interval":5000000000,"Retries":2}}}'
    )
    found = health.choose_check(None, parse_image_config(raw).config.healthcheck)
    assert found == HealthCheck(("curl -f localhost",), shell=True, interval_s=5, retries=2)


@pytest.mark.parametrize("test", [(), ("NONE",), ("CMD",), ("SOMETHING", "else")])
def test_an_image_may_bring_none(test: tuple[str, ...]) -> None:
    assert health.choose_check(None, Healthcheck(test=test)) is None


def test_what_was_asked_comes_before_the_image() -> None:
    image = Healthcheck(test=("CMD", "true"))
    assert health.choose_check(HealthCheck(), image) is None
    assert health.choose_check(CHECK, image) is CHECK
