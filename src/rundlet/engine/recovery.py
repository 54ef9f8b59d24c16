"""At start: make the records agree with what is there.

    half-made (creating)    its maker is dead → undone; alive → left alone
    live container          keeper says stopped → its exit is recorded
                            keeper does not know it, or another boot → exited, code unknown (255)
    ready pod               another boot, or its namespaces are gone → notready

Nothing is started anew here: what has ended stays ended.
"""

import logging
import os

from rundlet.engine.containers import Containers
from rundlet.engine.exits import record_exit, record_unknown_exit
from rundlet.engine.names import is_alive
from rundlet.engine.parts import Parts
from rundlet.engine.pods import Pods
from rundlet.engine.records import ContainerRecord, PodRecord
from rundlet.engine.undo import attempt
from rundlet.keeper.protocol import ContainerState

_log = logging.getLogger(__name__)


def recover(parts: Parts, pods: Pods, containers: Containers) -> None:
    """Idempotent; a failure with one object is logged and does not stop the rest."""
    for container in parts.containers.list_unfinished():
        if not is_alive(container.owner):
            attempt(f"clear half-made container {container.id}", containers.clear, container)
    for pod in parts.pods.list_unfinished():
        if not is_alive(pod.owner):
            attempt(f"clear half-made pod {pod.id}", pods.abandon, pod)
    recover_containers(parts)
    for pod in parts.pods.list():
        if pod.state == "ready" and not _has_namespaces(parts, pod):
            _log.info("pod %s lost its namespaces (reboot): not ready", pod.id)
            parts.pods.mark_stopped(pod.id)


def recover_containers(parts: Parts) -> None:
    """Record what has ended without anybody listening."""
    live = [record for record in parts.containers.list() if record.state != "exited"]
    if not live:
        return  # do not start a keeper only to hear that it keeps nothing
    kept = parts.keeper.list()
    for record in live:
        _recover_container(parts, record, kept.get(record.id))


def _recover_container(parts: Parts, record: ContainerRecord, state: ContainerState | None) -> None:
    if state is None or record.facts.boot_id != parts.boot_id:
        record_unknown_exit(parts.containers, record.id, "the container ended while nobody was looking")
    elif state.exit is not None:
        record_exit(parts.containers, state.exit)
    elif state.status == "running" and record.state != "running":
        parts.containers.mark_started(record.id, record.started_at_ns or record.created_at_ns)


def _has_namespaces(parts: Parts, record: PodRecord) -> bool:
    """Whether every namespace file is still what it was: a file of nsfs."""
    if record.facts.boot_id != parts.boot_id:
        return False
    nsfs = os.stat("/proc/self/ns/net").st_dev
    return all(_device_of(path) == nsfs for path in record.facts.namespaces.values())


def _device_of(path: str) -> int:
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1
