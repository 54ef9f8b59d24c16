"""Operations of one engine: those under way, and the newest of those that have ended.

    tracer = Tracer()
    with tracer.operation("run", "pod", label="default/web") as operation: …

An operation within another one is a step of it.  What has ended is kept by name, so that
a hundred probes a second push out older probes only, and failures are kept apart once more.
Looks that took no step (ListContainers and the like) are forgotten unless they failed.
"""

import functools
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rundlet.step import watch
from rundlet.trace.flight import Flight, FlightRecorder, Step
from rundlet.trace.span import STEPS_MAX, Failure, Span, current, observe_step

_KEPT_MAX = 32
"""Ended operations kept for each name; a step takes a third of a kB, a pod's start has 30 of them."""

Observer = Callable[["Operation"], None]


class Operation(Span):
    """The outermost step.  `origin` is the W3C traceparent of the caller's own trace, if it sent one."""

    __slots__ = ("_tracer", "origin", "serial", "step_count")

    def __init__(
        self, tracer: "Tracer", name: str, kind: str = "", object_id: str = "", label: str = ""
    ) -> None:
        super().__init__(name, None, kind, object_id, label)
        self._tracer = tracer
        self.origin = ""
        self.serial = 0
        self.step_count = 0

    def admit(self) -> bool:
        self.step_count += 1
        return self.step_count <= STEPS_MAX

    def __enter__(self) -> Self:
        super().__enter__()
        self._tracer.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._tracer.end(self)


@functools.cache
def _watch_steps() -> None:
    """Once a process."""
    watch(observe_step)


class Tracer:
    """Thread-safe; observers hear of every ended operation in the thread that did it, and must be quick."""

    def __init__(self, recorder: FlightRecorder | None = None) -> None:
        _watch_steps()
        self.recorder = recorder
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()
        self._running: dict[int, Operation] = {}
        self._ended: dict[str, deque[Operation]] = {}
        self._failed: deque[Operation] = deque(maxlen=_KEPT_MAX)
        self._observers: tuple[Observer, ...] = ()
        self.wants_origins = False  # somebody continues the traces of callers

    def operation(self, name: str, kind: str = "", object_id: str = "", label: str = "") -> Span:
        """A verb on an object; a step of what this thread is doing already, if it is."""
        outer = current()
        if outer is not None:
            return Span(name, outer, kind, object_id, label)
        return Operation(self, name, kind, object_id, label)

    def begin(self, operation: Operation) -> None:
        operation.serial = next(self._numbers)
        if self.recorder is not None:
            operation.lane = self.recorder.open_lane(operation)
        self._running[operation.serial] = operation

    def end(self, operation: Operation) -> None:
        del self._running[operation.serial]
        self.tell(operation)

    def tell(self, operation: Operation) -> None:
        """It has ended: keep it, and have the observers hear of it."""
        self.keep(operation)
        for observer in self._observers:
            observer(operation)

    def keep(self, operation: Operation) -> None:
        """Remember it among those that have ended."""
        with self._guard:
            if operation.failure is not None:
                self._failed.append(operation)
            elif operation.steps:
                self._ended.setdefault(operation.name, deque(maxlen=_KEPT_MAX)).append(operation)

    def running(self) -> list[Operation]:
        """Oldest first."""
        return list(self._running.copy().values())

    def ended(self) -> list[Operation]:
        """Those that are kept, in the order in which they ended."""
        with self._guard:
            kept = [operation for ring in self._ended.values() for operation in ring]
            kept += self._failed
        return sorted(kept, key=lambda operation: operation.ended_ns)

    def observe(self, observer: Observer) -> Callable[[], None]:
        """Tell `observer` of every operation that ends; call the answer to stop that."""
        with self._guard:
            self._observers = (*self._observers, observer)

        def leave() -> None:
            with self._guard:
                self._observers = tuple(one for one in self._observers if one is not observer)

        return leave

    def close(self) -> None:
        if self.recorder is not None:
            self.recorder.close()


def recall_flight(tracer: Tracer, flight: Flight) -> None:
    """Remember what a process was doing when it was killed, as an operation that failed now."""
    first, *inner = flight.steps
    operation = Operation(tracer, first.name, first.kind, first.object_id, first.label)
    now = time.monotonic_ns()
    _end_killed(operation, first, now)
    outer: Span = operation
    for step in inner:
        span = Span(step.name, outer, step.kind, step.object_id, step.label)
        _end_killed(span, step, now)
        outer.take(span)
        outer = span
    tracer.keep(operation)


def _end_killed(span: Span, step: Step, now_ns: int) -> None:
    span.started_ns, span.ended_ns, span.wait = step.started_ns, now_ns, step.wait
    span.failure = Failure("killed", "the process that did it was killed")
