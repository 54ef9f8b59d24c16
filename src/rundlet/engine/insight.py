"""What an engine is doing, has done, and why an object is as it is: for `rundlet why` and `rundlet trace`."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from rundlet.engine.evidence import gather
from rundlet.engine.parts import Parts
from rundlet.engine.why import Account, explain, explain_all
from rundlet.trace.tracer import Operation
from rundlet.trace.view import StepView, clock_offset_ns, is_called, view_span

_QUEUE_MAX = 1024


class Insight:
    """One engine's; thread-safe, changes nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def why(self, text: str = "") -> list[Account]:
        """Of what `text` means (`why.explain`), or of everything under way.  Raises NotFound."""
        evidence = gather(self._parts)
        return explain(evidence, text) if text else explain_all(evidence)

    def trace(self, names: Sequence[str] = ()) -> list[StepView]:
        """The operations that are kept, oldest end first, then those under way; only on objects called `names`."""
        offset_ns = clock_offset_ns()
        tracer = self._parts.tracer
        views = [view_span(span, offset_ns) for span in (*tracer.ended(), *tracer.running())]
        return [view for view in views if is_wanted(view, names)]

    def follow(self, names: Sequence[str] = ()) -> "Following":
        """The operations that end from now on; close it."""
        return Following(self._parts, names)


def is_wanted(view: StepView, names: Sequence[str]) -> bool:
    return not names or any(is_called(view, name) for name in names)


class Following:
    """Operations as they end; one that does not keep up loses the oldest."""

    def __init__(self, parts: Parts, names: Sequence[str]) -> None:
        self._names = names
        self._arrived = threading.Condition()
        self._ended: deque[Operation] = deque(maxlen=_QUEUE_MAX)
        self._stopped = False
        self._leave: Callable[[], None] = parts.tracer.observe(self._put)

    def _put(self, operation: Operation) -> None:
        if operation.steps or operation.failure:
            with self._arrived:
                self._ended.append(operation)
                self._arrived.notify()

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._leave()
        with self._arrived:
            self._stopped = True
            self._arrived.notify_all()

    def __iter__(self) -> Iterator[StepView]:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._ended or self._stopped)
                if self._stopped:
                    return
                operation = self._ended.popleft()
            view = view_span(operation, clock_offset_ns())
            if is_wanted(view, self._names):
                yield view
