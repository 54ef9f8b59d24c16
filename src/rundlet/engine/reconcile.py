"""Containers in the records against those that the keeper has."""

from rundlet.engine.exits import record_exit, record_unknown_exit
from rundlet.engine.parts import Parts
from rundlet.engine.records import ContainerRecord
from rundlet.engine.restore import note_restored
from rundlet.keeper.protocol import ContainerState, ExitRecord


def reconcile_containers(parts: Parts) -> None:
    """Record what has ended without anybody listening."""
    live = [record for record in parts.containers.list() if record.state != "exited"]
    if not live:
        return  # do not start a keeper only to hear that it keeps nothing
    kept = parts.keeper.list()
    for record in live:
        _reconcile_container(parts, record, kept.get(record.id))


def record_end(parts: Parts, record: ContainerRecord, started_at_ns: int, end: ExitRecord) -> None:
    """Its end, and of a life after the first its beginning too: who revived it may have been killed over that."""
    if record.facts.lives > 1 and started_at_ns:
        parts.containers.mark_started(record.id, started_at_ns)
    record_exit(parts.containers, end)


def is_waiting_for_restore(record: ContainerRecord, boot_id: str) -> bool:
    """Made from a checkpoint and not started: it has no process yet that could have ended."""
    return record.state == "created" and bool(record.facts.restore) and record.facts.boot_id == boot_id


def _reconcile_container(parts: Parts, record: ContainerRecord, state: ContainerState | None) -> None:
    if state is None and is_waiting_for_restore(record, parts.boot_id):
        return
    if state is None or record.facts.boot_id != parts.boot_id:
        record_unknown_exit(parts.containers, record.id, "the container ended while nobody was looking")
    elif state.exit is not None:
        record_end(parts, record, state.started_at_ns, state.exit)
    elif state.status == "running" and record.state != "running":
        if record.facts.restore:  # whoever had it restored died before that was recorded
            parts.containers.save_facts(record.id, note_restored(record.facts, state.pid))
        parts.containers.mark_started(record.id, state.started_at_ns)
