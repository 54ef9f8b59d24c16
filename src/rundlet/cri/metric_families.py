"""The metrics of the daemon: every family once, with where its numbers come from.

What CRI-O has too goes by CRI-O's names, as they stand on its wire (`container_runtime_crio_…`), with
its labels and units, so that its dashboards and alerts fit; the rest is ours (`rundlet_…`).
docs/observability.md has this table.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import rundlet
from rundlet.engine.engine import Engine
from rundlet.engine.tally import Snapshot, Tally, Totals
from rundlet.errors import NotFound
from rundlet.trace.tracer import Operation
from rundlet.trace.view import clock_offset_ns, running_leaves, view_span

Kind = Literal["counter", "gauge", "summary", "histogram"]
Sample = tuple[tuple[str, ...], float | Snapshot]

_CRIO = "container_runtime_crio_"
_STALLED_S = 10.0


class Reading(NamedTuple):
    """What one scrape reads from; everything in it was looked up once."""

    engine: Engine
    totals: Totals
    running: list[Operation]
    ooms: Counter[str]
    now: float


class Family(NamedTuple):
    """`read` gives label values with a number, or with a distribution for a summary or histogram."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    read: Callable[[Reading], Iterable[Sample]]


def _counts(source: Callable[[Reading], dict[str, int]]) -> Callable[[Reading], Iterator[Sample]]:
    return lambda reading: (((label,), count) for label, count in source(reading).items())


def _one(source: Callable[[Reading], float]) -> Callable[[Reading], list[Sample]]:
    return lambda reading: [((), source(reading))]


def _distributions(reading: Reading) -> Iterator[Sample]:
    return (((name,), one) for name, one in reading.totals.operations.items())


def _last_durations(reading: Reading) -> Iterator[Sample]:
    return (((name,), one.last) for name, one in reading.totals.operations.items())


def _layer_sizes(reading: Reading) -> list[Sample]:
    return [((), reading.totals.layer_sizes)] if reading.totals.layer_sizes else []


def _step_seconds(reading: Reading) -> Iterator[Sample]:
    for name, (count, seconds) in reading.totals.steps.items():
        yield (name,), Snapshot(count, seconds, 0.0, (), ())


def _in_flight(reading: Reading) -> Iterator[Sample]:
    return (((name,), count) for name, count in Counter(one.name for one in reading.running).items())


def _stalled(reading: Reading) -> Iterator[Sample]:
    """Operations by the step that they have been at for long."""
    stages: Counter[str] = Counter()
    for operation in reading.running:
        for path in running_leaves(view_span(operation, clock_offset_ns())):
            if reading.now - path[-1].started_at_ns / 1e9 > _STALLED_S:
                stages[path[-1].name] += 1
    return (((stage,), count) for stage, count in stages.items())


def _oldest(reading: Reading) -> float:
    now_ns = time.monotonic_ns()
    return max(((now_ns - one.started_ns) / 1e9 for one in reading.running), default=0.0)


def _pods(reading: Reading) -> Iterator[Sample]:
    states = Counter(pod.state for pod in reading.engine.pods.list())
    return (((state,), states[state]) for state in ("ready", "notready"))


def _containers(reading: Reading) -> Iterator[Sample]:
    states = Counter(one.state for one in reading.engine.containers.list())
    return (((state,), states[state]) for state in ("created", "running", "exited", "unknown"))


def _count_defunct(_: Reading) -> float:
    return sum(_is_defunct(name) for name in os.listdir("/proc") if name.isdecimal())


def _is_defunct(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


FAMILIES: tuple[Family, ...] = (
    Family(f"{_CRIO}operations_total", "counter", ("operation",), "Calls by name.",
           _counts(lambda reading: {name: one.number for name, one in reading.totals.operations.items()})),
    Family(f"{_CRIO}operations_errors_total", "counter", ("operation",), "Calls that failed, by name.",
           _counts(lambda reading: reading.totals.errors)),
    Family(f"{_CRIO}operations_latency_seconds", "gauge", ("operation",), "How long the last call of a name took.",
           _last_durations),
    Family(f"{_CRIO}operations_latency_seconds_total", "summary", ("operation",),
           "How long calls took, by name; quantiles of the last 256.", _distributions),
    Family(f"{_CRIO}image_pulls_success_total", "counter", (), "Pulls that brought an image.",
           _one(lambda reading: reading.totals.pulls)),
    Family(f"{_CRIO}image_pulls_failure_total", "counter", ("error",), "Pulls that failed, by reason.",
           _counts(lambda reading: reading.totals.pull_failures)),
    Family(f"{_CRIO}image_pulls_bytes_total", "counter", ("mediatype", "size"),
           "Bytes of layers that were brought, by media type and size class.",
           lambda reading: reading.totals.pulled_bytes.items()),
    Family(f"{_CRIO}image_pulls_skipped_bytes_total", "counter", ("size",),
           "Bytes of layers that were here already, by size class.",
           _counts(lambda reading: reading.totals.skipped_bytes)),
    Family(f"{_CRIO}image_pulls_layer_size", "histogram", (), "Bytes of each layer that was brought.", _layer_sizes),
    Family(f"{_CRIO}image_layer_reuse_total", "counter", (), "Layers that were here already.",
           _one(lambda reading: reading.totals.reused_layers)),
    Family(f"{_CRIO}containers_oom_total", "counter", (), "Containers that the kernel killed for want of memory.",
           _one(lambda reading: reading.ooms.total())),
    Family(f"{_CRIO}containers_oom_count_total", "counter", ("name",), "The same, by the container's name.",
           _counts(lambda reading: reading.ooms)),
    Family(f"{_CRIO}containers_events_dropped_total", "counter", (),
           "Events that a listener of GetContainerEvents was too slow for.",
           _one(lambda reading: reading.engine.feed.lost)),
    Family(f"{_CRIO}processes_defunct", "gauge", (), "Zombies on the node.", _one(_count_defunct)),
    Family(f"{_CRIO}resources_stalled_at_stage", "gauge", ("stage",),
           "Operations that have been at one step for more than 10 s, by step.", _stalled),
    Family("rundlet_operation_duration_seconds", "histogram", ("operation",), "How long calls took, by name.",
           _distributions),
    Family("rundlet_step_duration_seconds", "summary", ("step",),
           "How long the steps of operations took: the names of `rundlet trace`.", _step_seconds),
    Family("rundlet_operations_in_flight", "gauge", ("operation",), "Calls under way, by name.", _in_flight),
    Family("rundlet_oldest_operation_seconds", "gauge", (), "How long the oldest call under way has taken so far.",
           _one(_oldest)),
    Family("rundlet_keeper_restarts_total", "counter", (),
           "Times that the keeper's supervisor went away and was found anew.",
           _one(lambda reading: reading.engine.keeper_restarts)),
    Family("rundlet_pods", "gauge", ("state",), "Pods by state.", _pods),
    Family("rundlet_containers", "gauge", ("state",), "Containers by state.", _containers),
    Family("rundlet_build_info", "gauge", ("version",), "Always 1.",
           lambda _: [((rundlet.__version__,), 1)]),
)  # fmt: skip


class Meter:
    """The numbers behind the families: listens to an engine from `start` to `stop`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._tally = Tally()
        self._ooms: Counter[str] = Counter()
        self._subscription = engine.feed.subscribe()
        self._thread = threading.Thread(target=self._watch_ends, name="metrics-ends", daemon=True)

    def start(self) -> None:
        self._leave = self._engine.tracer.observe(self._tally)
        self._thread.start()

    def stop(self) -> None:
        self._leave()
        self._subscription.stop()
        self._thread.join()
        self._engine.feed.leave(self._subscription)

    def read(self) -> Reading:
        engine = self._engine
        return Reading(engine, self._tally.read(), engine.tracer.running(), self._ooms.copy(), time.time())

    def _watch_ends(self) -> None:
        for event in self._subscription:
            if (event.kind, event.change) != ("container", "stopped"):
                continue
            try:
                ended = self._engine.containers.status(event.id)
            except NotFound:
                continue  # removed meanwhile, with its reason
            if ended.reason == "OOMKilled":
                self._ooms[ended.options.name] += 1
