"""Waiting until a container is ready: a line in its log, a port that answers, its health check."""

import re
import time
from typing import NoReturn

from rundlet.engine.engine import Engine
from rundlet.errors import DeadlineExceeded, Error, FailedPrecondition, NotFound, Unavailable
from rundlet.local.machine import Machine

_POLL_S = 0.02
_SHOWN_LINES = 5


def wait_for_line(machine: Machine, container_id: str, pattern: "re.Pattern[str]", deadline: float) -> str:
    """`deadline` is of time.monotonic."""
    seen = 0
    while True:
        ended = _has_ended(machine, container_id)
        entries = list(machine.containers.logs(container_id))
        for entry in entries[seen:]:
            if pattern.search(entry.text):
                return entry.text
        seen = len(entries)
        _go_on(machine, container_id, f"the log has no line with {pattern.pattern!r}", deadline, ended=ended)


def wait_for_port(machine: Machine, container_id: str, port: int, deadline: float) -> None:
    """Connections are made in the container's own network, so that nothing need be published."""
    pod_id = machine.containers.get(container_id).pod_id
    while True:
        ended = _has_ended(machine, container_id)
        if machine.apply(_answers, pod_id, port):
            return
        _go_on(machine, container_id, f"nobody listens on port {port}", deadline, ended=ended)


def _answers(engine: Engine, pod_id: str, port: int) -> bool:
    import select

    try:
        dial = engine.pods.port_forward(pod_id, port)
        try:
            while (sock := dial.advance()) is None:
                select.select([], [dial.fileno()], [], 1.0)
            sock.close()
        finally:
            dial.close()
    except (Unavailable, NotFound, FailedPrecondition, DeadlineExceeded):
        return False
    return True


def wait_for_health(machine: Machine, container_id: str, deadline: float) -> None:
    if machine.containers.get(container_id).asked is None:
        raise FailedPrecondition("a container that was made over CRI has no health check")
    while True:
        ended = _has_ended(machine, container_id)
        health = machine.containers.get(container_id).health
        if health.status == "healthy":
            return
        if not health.status:
            raise FailedPrecondition(
                "the container has no health check", hint="give run health=HealthCheck(…)"
            )
        _go_on(machine, container_id, f"it is {health.status}", deadline, ended=ended)


def _has_ended(machine: Machine, container_id: str) -> bool:
    return machine.containers.get(container_id).state not in ("created", "running")


def _go_on(machine: Machine, container_id: str, what: str, deadline: float, *, ended: bool) -> None:
    """A nap, or the error that says why there is nothing more to wait for."""
    if ended:
        _fail(machine, container_id, FailedPrecondition, f"it has ended, and {what}")
    if time.monotonic() > deadline:
        _fail(machine, container_id, DeadlineExceeded, f"{what} in time")
    time.sleep(_POLL_S)


def _fail(machine: Machine, container_id: str, kind: type[Error], what: str) -> NoReturn:
    container = machine.containers.get(container_id)
    lines = [entry.text for entry in machine.containers.logs(container_id, tail=_SHOWN_LINES)]
    code = f", exit code {container.exit_code}" if container.exit_code is not None else ""
    raise kind(
        f"container {container.name} is not ready: {what}{code}",
        hint="its last lines: " + " | ".join(lines) if lines else "it has written nothing",
    )
