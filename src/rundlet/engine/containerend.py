"""The end of a container: the signals that ask for it, the wait, and its record."""

import signal

from rundlet.engine.exits import record_exit, record_unknown_exit
from rundlet.engine.parts import Parts
from rundlet.engine.records import ContainerRecord
from rundlet.errors import DeadlineExceeded, FailedPrecondition, NotFound
from rundlet.step import step
from rundlet.trace.span import waits

_KILL_TIMEOUT_S = 30.0


def kill_container(parts: Parts, record: ContainerRecord) -> None:
    thaw_container(parts, record)
    signal_container(parts, record.id, signal.SIGKILL)
    if not await_end(parts, record, _KILL_TIMEOUT_S):
        raise DeadlineExceeded(
            f"container {record.id} does not end after SIGKILL for {_KILL_TIMEOUT_S:g} s",
            hint="a process of it may wait for a device or a network file system",
        )


def signal_container(parts: Parts, container_id: str, number: int) -> None:
    """Whoever has just ended needs no signal any more."""
    try:
        with step("container.signal", container_id):
            parts.keeper.signal(container_id, number, everyone=number == signal.SIGKILL)
    except (NotFound, FailedPrecondition):
        pass


def await_end(parts: Parts, record: ContainerRecord, timeout_s: float | None) -> bool:
    """Whether it ended in time; its end is recorded then."""
    try:
        with step("container.await-end", record.id):
            waits("process", f"container {record.options.name}", record.facts.pid, timeout_s)
            end = parts.keeper.wait(record.id, timeout_s)
    except NotFound:
        record_unknown_exit(parts.containers, record.id, "the container's process was lost")
        return True
    if end is not None:
        with step("container.mark-exited", record.id):
            record_exit(parts.containers, end)
    return end is not None


def thaw_container(parts: Parts, record: ContainerRecord) -> None:
    """Who is paused takes no signal."""
    group = parts.group(record.facts.cgroups_path) if record.facts.cgroups_path else None
    if group is not None and group.exists() and group.is_frozen():
        group.thaw()
