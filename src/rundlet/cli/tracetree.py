"""Steps as an indented tree with their times.  Pure."""

from collections.abc import Iterator

from rundlet.cli.table import long_time
from rundlet.engine.whytext import format_span, format_wait
from rundlet.trace.view import StepView

_NAME_COLUMNS = 60


def format_tree(operation: StepView, now_ns: int) -> list[str]:
    """The operation with when it began, then each step with how long it took."""
    return [
        f"{_format_line('', operation, now_ns)}  {long_time(operation.started_at_ns)}",
        *_format_steps(operation, "", now_ns),
        *([f"   and {operation.dropped} more steps"] if operation.dropped else []),
    ]


def _format_steps(step: StepView, prefix: str, now_ns: int) -> Iterator[str]:
    for index, inner in enumerate(step.steps):
        is_last = index == len(step.steps) - 1
        yield _format_line(f"{prefix}{'└─ ' if is_last else '├─ '}", inner, now_ns)
        yield from _format_steps(inner, f"{prefix}{'   ' if is_last else '│  '}", now_ns)


def _format_line(prefix: str, step: StepView, now_ns: int) -> str:
    subject = step.subject if step.kind or len(step.object_id) != 64 else ""  # a step's id is its operation's
    name = f"{prefix}{step.name} {subject}".rstrip()
    took = format_span((step.ended_at_ns or now_ns) - step.started_at_ns)
    return f"{name:<{_NAME_COLUMNS}} {took:>12}{_format_outcome(step, now_ns)}"


def _format_outcome(step: StepView, now_ns: int) -> str:
    if step.outcome == "running":
        return f"  runs, waits for {format_wait(step.wait, now_ns)}" if step.wait else "  runs"
    if step.failure and not any(inner.failure for inner in step.steps):
        return f"  failed ({step.failure.code}): {step.failure.message}"
    return "  failed" if step.failure else ""
