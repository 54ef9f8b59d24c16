"""What the end of a container means in CRI's words."""

import time

from rundlet.engine.records import Exit
from rundlet.engine.recordtables import ContainerRecords
from rundlet.errors import Error
from rundlet.keeper.protocol import ExitRecord

UNKNOWN_EXIT_CODE = 255
_START_FAILED_EXIT_CODE = 128


def name_reason(exit_code: int, *, oom_killed: bool) -> str:
    """CRI: OOMKilled is mandated for a cgroup's out-of-memory kill."""
    if oom_killed:
        return "OOMKilled"
    return "Error" if exit_code else "Completed"


def record_exit(records: ContainerRecords, end: ExitRecord) -> None:
    """Idempotent: the first report counts."""
    reason = name_reason(end.exit_code, oom_killed=end.oom_killed)
    records.mark_exited(end.container_id, Exit(end.exit_code, end.finished_at_ns, reason))


def record_unknown_exit(records: ContainerRecords, container_id: str, message: str) -> None:
    """The container is gone and nobody saw it end."""
    end = Exit(UNKNOWN_EXIT_CODE, time.time_ns(), "ContainerStatusUnknown", message)
    records.mark_exited(container_id, end)


def record_start_failure(records: ContainerRecords, container_id: str, error: Error) -> None:
    """A program that could not be run leaves an exited container, as the common engines have it.

    The watcher may have seen the process end before; it does not know why.
    """
    end = Exit(_START_FAILED_EXIT_CODE, time.time_ns(), "StartError", error.message)
    records.mark_exited(container_id, end, overrule=True)
