"""What is behind a wait, looked at now: the process, the keeper, the lock's holder, the registry."""

from collections.abc import Callable, Iterator

from rundlet.engine.evidence import Evidence
from rundlet.engine.processes import (
    describe_process,
    find_lock_holders,
    find_mount_users,
    list_children,
    read_process,
)
from rundlet.keeper.probe import probe_keeper
from rundlet.trace.view import StepView, WaitView

_PROBE_S = 1.0
_PEERS_MAX = 5
# Steps that fail or hang when something else still uses a mount or a directory.
_UNMOUNTING = frozenset({"container.unmount", "container.remove-snapshot", "container.remove-bundle"})

Look = Callable[[Evidence, WaitView], Iterator[str]]


def look_into(evidence: Evidence, path: tuple[StepView, ...]) -> Iterator[str]:
    """Lines on what the steps of `path` wait for, the outermost first."""
    for step in path:
        if step.wait is not None and step.wait.kind in _LOOKS:
            yield from _LOOKS[step.wait.kind](evidence, step.wait)
    leaf = path[-1]
    if leaf.name in _UNMOUNTING and leaf.object_id:
        yield from find_mount_users(leaf.object_id)


def describe_pid(pid: int) -> list[str]:
    facts = read_process(pid)
    return describe_process(facts) if facts else [f"process {pid} has ended"]


def _look_at_process(_evidence: Evidence, wait: WaitView) -> Iterator[str]:
    if not wait.pid:
        return
    yield from describe_pid(wait.pid)
    for child in list_children(wait.pid)[:_PEERS_MAX]:
        yield from (f"  child: {line}" for line in describe_pid(child))


def _look_at_keeper(evidence: Evidence, _wait: WaitView) -> Iterator[str]:
    probe = probe_keeper(evidence.run_root, _PROBE_S)
    if not probe.pid:
        yield f"no keeper listens under {evidence.run_root}"
        return
    if probe.answers:
        yield f"the keeper (process {probe.pid}) answers others: it works on this request"
    else:
        yield f"the keeper does not answer within {_PROBE_S:g} s"
        yield from describe_pid(probe.pid)
    for supervisor in list_children(probe.pid)[:_PEERS_MAX]:
        if not probe.answers:
            yield from describe_pid(supervisor)
        for child in list_children(supervisor):
            facts = read_process(child)
            if facts and facts.state == "D":
                yield from describe_process(facts)


def _look_at_lock(_evidence: Evidence, wait: WaitView) -> Iterator[str]:
    if not wait.name.startswith("/"):
        return
    holders = find_lock_holders(wait.name)[:_PEERS_MAX]
    for pid in holders:
        yield from (f"held by {line}" for line in describe_pid(pid))


_LOOKS: dict[str, Look] = {
    "process": _look_at_process,
    "keeper": _look_at_keeper,
    "lock": _look_at_lock,
}
