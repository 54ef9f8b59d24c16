"""What killed processes have left half done with this machine's containers, brought to an end.

being made or removed by a dead process     removed
its engine container is gone                forgotten (somebody removed it over CRI)
ended, and made with --rm                   removed, when nobody waits for it
"""

import logging

from rundlet.engine.engine import Engine
from rundlet.engine.names import is_alive
from rundlet.engine.options import ContainerFilter
from rundlet.engine.undo import attempt
from rundlet.local.containers import Containers
from rundlet.local.records import LocalRecord, LocalRecords

_log = logging.getLogger(__name__)


def recover(engine: Engine, records: LocalRecords, containers: Containers) -> None:
    """Idempotent; a failure with one container is logged and does not stop the rest."""
    found = records.list()
    if not found:
        return
    states = {status.id: status.state for status in engine.containers.list(ContainerFilter(origin="local"))}
    for record in found:
        if record.owner and is_alive(record.owner):
            continue
        if _is_left_over(record, states.get(record.id, "")):
            _log.info("container %s was left by a process that died, or is gone: removed", record.name)
            attempt(f"remove what is left of container {record.name}", containers.discard, record)


def _is_left_over(record: LocalRecord, state: str) -> bool:
    return bool(record.owner) or not state or record.state.wanted == "removed"
