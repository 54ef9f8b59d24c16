"""Health checks: a program that is run in a container again and again, and what its exit codes come to.

    starting ──a success──▶ healthy ──`retries` failures in a row──▶ unhealthy ──a success──▶ healthy
        └──`retries` failures in a row after the start period──▶ unhealthy

As Docker has it: failures of the start period do not count, exit code 0 is a success, anything else a
failure, and so is a check that takes longer than its timeout.  Each life of a container starts anew.
"""

import time

from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.errors import DeadlineExceeded, Error
from rundlet.local.options import HealthCheck
from rundlet.local.probe import probe_url
from rundlet.local.records import Health, Probe
from rundlet.spec.image import Healthcheck

PROBES_KEPT = 5
_OUTPUT_MAX = 500
_NS = 10**9
_FAILED_EXIT_CODE = 1
_DEFAULT = HealthCheck()


def choose_check(asked: HealthCheck | None, image: Healthcheck | None) -> HealthCheck | None:
    """What a container is checked with: what was asked, else the image's HEALTHCHECK; None for nothing."""
    chosen = asked if asked is not None else _read_image_check(image)
    return chosen if chosen is not None and (is_one(chosen) or chosen.first) else None


def is_one(check: HealthCheck) -> bool:
    """Whether there is anything to run."""
    return bool(check.command or check.url)


def find_current(health: Health, check: HealthCheck) -> HealthCheck | None:
    """What is to be run now: the check of the beginning, then the one for the rest of a life, if there is one."""
    if check.first is not None and not health.started:
        return check.first
    return check if is_one(check) else None


def _read_image_check(image: Healthcheck | None) -> HealthCheck | None:
    if image is None or not image.test:
        return None
    kind, *command = image.test
    if kind not in ("CMD", "CMD-SHELL"):
        return None
    return HealthCheck(
        command=tuple(command),
        shell=kind == "CMD-SHELL",
        interval_s=image.interval / _NS or _DEFAULT.interval_s,
        timeout_s=image.timeout / _NS or _DEFAULT.timeout_s,
        retries=image.retries or _DEFAULT.retries,
        start_period_s=image.start_period / _NS,
    )


def begin(health: Health, life_ns: int) -> Health:
    """The health of the life that began at `life_ns`: what an earlier one came to is forgotten."""
    return health if health.life_ns == life_ns else Health("starting", life_ns=life_ns)


def find_due(health: Health, check: HealthCheck) -> int:
    """When the next check is due, in nanoseconds since the epoch."""
    last_ns = health.probes[-1].finished_at_ns if health.probes else health.life_ns
    return last_ns + int(check.interval_s * _NS)


def note(health: Health, check: HealthCheck, probe: Probe) -> Health:
    """The health after one more check."""
    kept = (*health.probes, probe)[-PROBES_KEPT:]
    is_first = check.first is not None and not health.started
    current = check.first if check.first is not None and is_first else check
    if probe.exit_code == 0:
        status = "starting" if is_first and is_one(check) else "healthy"
        return replace(health, status=status, failing_streak=0, probes=kept, started=True)
    in_start_period = probe.started_at_ns - health.life_ns < current.start_period_s * _NS
    if in_start_period and health.status == "starting":
        return replace(health, probes=kept)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= current.retries else health.status
    return replace(health, status=status, failing_streak=streak, probes=kept)


def run_check(engine: Engine, container_id: str, check: HealthCheck) -> Probe:
    """Run it once; whatever goes wrong with it is a failure of the check."""
    started_at_ns = time.time_ns()
    try:
        code, output = _run(engine, container_id, check)
    except DeadlineExceeded:
        code, output = _FAILED_EXIT_CODE, f"it was killed: it ran over {check.timeout_s:g} s"
    except Error as error:
        code, output = _FAILED_EXIT_CODE, error.message
    return Probe(started_at_ns, time.time_ns(), code, output[-_OUTPUT_MAX:])


def _run(engine: Engine, container_id: str, check: HealthCheck) -> tuple[int, str]:
    """Exit code and output."""
    if check.url:
        return probe_url(engine, container_id, check.url, check.timeout_s)
    argv = ("/bin/sh", "-c", " ".join(check.command)) if check.shell else check.command
    result = engine.containers.exec_sync(container_id, argv, check.timeout_s)
    return result.exit_code, (result.stdout + result.stderr).decode(errors="replace")
