"""Steps as a Chrome trace file, for chrome://tracing, Perfetto and speedscope.

Trace Event Format: "complete" events (ph X) in microseconds; one process, a row for each
operation, and further rows for steps that ran beside each other.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from rundlet.trace.view import StepView


def chrome_trace(operations: Iterable[StepView], now_ns: int) -> dict[str, Any]:
    """The document; what still runs ends at `now_ns`."""
    rows = _Rows()
    return {
        "displayTimeUnit": "ms",
        "traceEvents": [event for one in operations for event in rows.lay(one, now_ns)],
    }


class _Rows:
    """Hands out rows (threads, in the format's words): events of one row may nest, but not overlap."""

    def __init__(self) -> None:
        self._last = 0

    def lay(self, operation: StepView, now_ns: int) -> Iterator[dict[str, Any]]:
        self._last += 1
        yield _name_row(self._last, f"{operation.name} {operation.subject}".strip())
        yield from self._lay_step(operation, self._last, now_ns)

    def _lay_step(self, step: StepView, row: int, now_ns: int) -> Iterator[dict[str, Any]]:
        yield _event(step, row, now_ns)
        busy_until_ns = 0
        for inner in sorted(step.steps, key=lambda one: one.started_at_ns):
            inner_row = row
            if inner.started_at_ns < busy_until_ns:
                self._last += 1
                inner_row = self._last
            else:
                busy_until_ns = inner.ended_at_ns or now_ns
            yield from self._lay_step(inner, inner_row, now_ns)


def _name_row(row: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "pid": 1, "tid": row, "name": "thread_name", "args": {"name": name}}


def _event(step: StepView, row: int, now_ns: int) -> dict[str, Any]:
    args: dict[str, Any] = {"outcome": step.outcome}
    if step.subject:
        args["object"] = step.subject
    if step.failure:
        args["error"] = f"{step.failure.code}: {step.failure.message}"
    if step.wait:
        args["waits for"] = f"{step.wait.kind} {step.wait.name} {step.wait.pid or ''}".strip()
    return {
        "ph": "X",
        "pid": 1,
        "tid": row,
        "ts": step.started_at_ns / 1000,
        "dur": ((step.ended_at_ns or now_ns) - step.started_at_ns) / 1000,
        "name": step.name,
        "cat": step.kind or "step",
        "args": args,
    }
