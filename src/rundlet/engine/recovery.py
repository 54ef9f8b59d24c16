"""At start: make the records agree with what is there.

    half-made (creating)    its maker is dead → undone; alive → left alone
    live container          keeper says stopped → its exit is recorded
                            keeper does not know it, or another boot → exited, code unknown (255)
    ready pod               another boot, or its namespaces are gone → notready
    network                 what is left of pods that are not ready → removed (CNI's GC)

    the last step of each   a pod without containers, a container created or started: whoever asked
                            for it may not have heard the answer → the same call gets it once more

Nothing is started anew here: what has ended stays ended.
"""

import logging
import os

from rundlet.engine.containers import Containers
from rundlet.engine.names import is_alive
from rundlet.engine.options import PodFilter
from rundlet.engine.parts import Parts
from rundlet.engine.pods import Pods
from rundlet.engine.reconcile import reconcile_containers
from rundlet.engine.records import PodRecord
from rundlet.engine.undo import attempt

_log = logging.getLogger(__name__)


def recover(parts: Parts, pods: Pods, containers: Containers) -> None:
    """Idempotent; a failure with one object is logged and does not stop the rest."""
    for container in parts.containers.list_unfinished():
        if not is_alive(container.owner):
            attempt(f"clear half-made container {container.id}", containers.clear, container)
    for pod in parts.pods.list_unfinished():
        if not is_alive(pod.owner):
            attempt(f"clear half-made pod {pod.id}", pods.abandon, pod)
    reconcile_containers(parts)
    for pod in parts.pods.list():
        if pod.state == "ready" and not _has_namespaces(parts, pod):
            _log.info("pod %s lost its namespaces (reboot): not ready", pod.id)
            parts.pods.mark_stopped(pod.id)
    _offer_again(parts, pods, containers)
    attempt("remove what is left on the network", _collect_network, parts)


def _offer_again(parts: Parts, pods: Pods, containers: Containers) -> None:
    found = parts.containers.list()
    used = {container.pod_id for container in found}
    for pod in parts.pods.list(PodFilter(state="ready")):
        if pod.id not in used:
            pods.offer_again(pod.options, pod.id)
    for container in found:
        if container.state == "created":
            containers.offer_again(container.options, container.id)
        elif container.state == "running":
            containers.offer_start(container.id)


def _collect_network(parts: Parts) -> None:
    for error in parts.network.collect(lambda: _list_networked(parts)):
        _log.warning("cannot remove what is left on the network: %s", error)


def _list_networked(parts: Parts) -> list[str]:
    """Pods that have, or are getting, a network; those being made first, as they may turn ready meanwhile."""
    making = [pod.id for pod in parts.pods.list_unfinished()]
    return making + [pod.id for pod in parts.pods.list() if pod.state == "ready"]


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
