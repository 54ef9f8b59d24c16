"""What operations add up to, for metrics: how many, how long, how much.

The tracer tells of each operation as it ends; the sums are read at a scrape.
"""

import threading
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from typing import NamedTuple

from rundlet.trace.span import Span
from rundlet.trace.tracer import Operation

DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
# CRI-O's: decimal, whatever its comments say.
SIZE_BUCKETS_BYTES = (10**3, 10**6, 10**7, 5 * 10**7, *(n * 10**8 for n in (1, 2, 3, 4, 5)), 10**9, 10**10)
QUANTILES = (0.5, 0.9, 0.99)
_RECENT = 256


class Snapshot(NamedTuple):
    """`buckets` are cumulative, one for each bound and one without; `quantiles` of the newest values."""

    number: int
    sum: float
    last: float
    buckets: tuple[int, ...]
    quantiles: tuple[float, ...]


class Distribution:
    """Values of one kind."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self._recent.append(value)

    def read(self) -> Snapshot:
        cumulative = [sum(self._counts[: index + 1]) for index in range(len(self._counts))]
        ordered = sorted(self._recent)
        quantiles = tuple(ordered[min(int(q * len(ordered)), len(ordered) - 1)] for q in QUANTILES)
        return Snapshot(cumulative[-1], self._sum, self._recent[-1], tuple(cumulative), quantiles)


class Totals(NamedTuple):
    """Sums since the engine began: durations in seconds by operation and by step, the rest by label."""

    operations: dict[str, Snapshot]
    errors: dict[str, int]
    steps: dict[str, tuple[int, float]]
    pulls: int
    pull_failures: dict[str, int]
    pulled_bytes: dict[tuple[str, str], int]
    skipped_bytes: dict[str, int]
    layer_sizes: Snapshot | None
    reused_layers: int


class Tally:
    """An observer of a tracer; thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._operations: dict[str, Distribution] = {}
        self._errors: Counter[str] = Counter()
        self._step_counts: Counter[str] = Counter()
        self._step_seconds: defaultdict[str, float] = defaultdict(float)
        self._pulls = 0
        self._pull_failures: Counter[str] = Counter()
        self._pulled_bytes: Counter[tuple[str, str]] = Counter()
        self._skipped_bytes: Counter[str] = Counter()
        self._layer_sizes = Distribution(SIZE_BUCKETS_BYTES)
        self._reused_layers = 0

    def __call__(self, operation: Operation) -> None:
        with self._guard:
            self._add_duration(operation.name, _seconds(operation))
            if operation.failure:
                self._errors[operation.name] += 1
            for span in _walk(operation):
                self._add_step(span)

    def _add_duration(self, name: str, seconds: float) -> None:
        if name not in self._operations:
            self._operations[name] = Distribution(DURATION_BUCKETS_S)
        self._operations[name].add(seconds)

    def _add_step(self, span: Span) -> None:
        name = f"{span.name} {span.kind}" if span.kind else span.name
        self._step_counts[name] += 1
        self._step_seconds[name] += _seconds(span)
        if name == "pull image":
            self._add_pull(span)
        elif name == "layer.download" and span.failure is None and span.progress:
            self._pulled_bytes[span.label, name_size(span.progress[1])] += span.progress[1]
            self._layer_sizes.add(span.progress[1])
        elif name == "layer.reuse" and span.progress:
            self._reused_layers += 1
            self._skipped_bytes[name_size(span.progress[1])] += span.progress[1]
        elif name == "pod.network":
            self._add_network(span)

    def _add_network(self, span: Span) -> None:
        """CRI-O counts these two beside the calls: all of a pod's network, and the plugins' share."""
        plugins = (one for one in _walk(span) if one.name.startswith("network.add."))
        self._add_duration("network_setup_overall", _seconds(span))
        self._add_duration("network_setup_pod", sum(map(_seconds, plugins)))

    def _add_pull(self, span: Span) -> None:
        if span.failure is None:
            self._pulls += 1
        else:
            self._pull_failures[_PULL_ERRORS.get(span.failure.code, "UNKNOWN")] += 1

    def read(self) -> Totals:
        with self._guard:
            sizes = self._layer_sizes
            return Totals(
                operations={name: one.read() for name, one in self._operations.items()},
                errors=dict(self._errors),
                steps={name: (count, self._step_seconds[name]) for name, count in self._step_counts.items()},
                pulls=self._pulls,
                pull_failures=dict(self._pull_failures),
                pulled_bytes=dict(self._pulled_bytes),
                skipped_bytes=dict(self._skipped_bytes),
                layer_sizes=sizes.read() if self._pulled_bytes else None,
                reused_layers=self._reused_layers,
            )


# The words of the distribution specification that CRI-O uses, and its own for connections.
_PULL_ERRORS = {
    "not_found": "NOT_FOUND",
    "unauthenticated": "UNAUTHORIZED",
    "permission_denied": "DENIED",
    "resource_exhausted": "TOOMANYREQUESTS",
    "unavailable": "UNAVAILABLE",
    "deadline_exceeded": "CONNECTION_TIMEOUT",
    "data_loss": "DIGEST_INVALID",
    "invalid_argument": "MANIFEST_INVALID",
    "unimplemented": "UNSUPPORTED",
    "cancelled": "CANCELLED",
}


def name_size(size_bytes: int) -> str:
    """The bucket of a size, as CRI-O labels it: its upper bound in bytes, or +Inf."""
    index = bisect_left(SIZE_BUCKETS_BYTES, size_bytes)
    return str(SIZE_BUCKETS_BYTES[index]) if index < len(SIZE_BUCKETS_BYTES) else "+Inf"


def _walk(span: Span) -> Iterator[Span]:
    for step in span.steps:
        yield step
        yield from _walk(step)


def _seconds(span: Span) -> float:
    return max(0, span.ended_ns - span.started_ns) / 1e9
