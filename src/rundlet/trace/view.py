"""Steps as values for others: JSON, other processes, people.  Times are nanoseconds since the epoch."""

import time
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from rundlet.trace.flight import Flight
from rundlet.trace.span import STEPS_MAX, Span, Wait
from rundlet.trace.tracer import Operation

_ID_DIGITS = 64

Outcome = Literal["running", "ok", "failed"]


class WaitView(Struct, frozen=True, omit_defaults=True):
    """`until_ns` is 0 when there is no limit."""

    kind: str
    name: str
    pid: int = 0
    since_ns: int = 0
    until_ns: int = 0


class FailureView(Struct, frozen=True, omit_defaults=True):
    code: str
    message: str
    hint: str = ""


class StepView(Struct, frozen=True, omit_defaults=True):
    """`ended_at_ns` is 0 while it runs; `progress` is bytes done and bytes in all.

    Of an operation, the outermost step, `serial` numbers it in its process and `dropped` counts
    steps that were too many to be kept.
    """

    name: str
    started_at_ns: int
    ended_at_ns: int = 0
    kind: str = ""
    object_id: str = ""
    label: str = ""
    wait: WaitView | None = None
    failure: FailureView | None = None
    progress: tuple[int, int] | None = None
    steps: tuple["StepView", ...] = ()
    serial: int = 0
    dropped: int = 0

    @property
    def outcome(self) -> Outcome:
        if not self.ended_at_ns:
            return "running"
        return "failed" if self.failure else "ok"

    @property
    def subject(self) -> str:
        """The object as people call it: `pod default/web (5f2c8a1b9d3e)`."""
        short = _shorten(self.object_id)
        name = f"{self.label} ({short})" if self.label and short else self.label or short
        return f"{self.kind} {name}".strip()


def _shorten(object_id: str) -> str:
    return object_id[:12] if len(object_id) == _ID_DIGITS else object_id


def clock_offset_ns() -> int:
    """What to add to CLOCK_MONOTONIC to have the time since the epoch, as the clock stands now."""
    return time.time_ns() - time.monotonic_ns()


def view_span(span: Span, offset_ns: int) -> StepView:
    failure = span.failure
    return StepView(
        name=span.name,
        started_at_ns=span.started_ns + offset_ns,
        ended_at_ns=span.ended_ns + offset_ns if span.ended_ns else 0,
        kind=span.kind,
        object_id=span.object_id,
        label=span.label,
        wait=_view_wait(span.wait, offset_ns),
        failure=FailureView(*failure) if failure else None,
        progress=span.progress,
        steps=tuple(view_span(step, offset_ns) for step in tuple(span.steps)),
        serial=span.serial if isinstance(span, Operation) else 0,
        dropped=max(0, span.step_count - STEPS_MAX) if isinstance(span, Operation) else 0,
    )


def view_flight(flight: Flight, offset_ns: int) -> StepView:
    """The chain of steps that a thread is in."""
    inner: tuple[StepView, ...] = ()
    for step in reversed(flight.steps):
        view = StepView(
            name=step.name,
            started_at_ns=step.started_ns + offset_ns,
            kind=step.kind,
            object_id=step.object_id,
            label=step.label,
            wait=_view_wait(step.wait, offset_ns),
            steps=inner,
        )
        inner = (view,)
    return inner[0]


def end_steps(view: StepView, failure: FailureView, ended_at_ns: int) -> StepView:
    """The same steps, all of them failed."""
    inner = tuple(end_steps(step, failure, ended_at_ns) for step in view.steps)
    return replace(view, failure=failure, ended_at_ns=ended_at_ns, steps=inner)


def _view_wait(wait: Wait | None, offset_ns: int) -> WaitView | None:
    if wait is None:
        return None
    until_ns = wait.until_ns + offset_ns if wait.until_ns else 0
    return WaitView(wait.kind, wait.name, wait.pid, wait.since_ns + offset_ns, until_ns)


def running_leaves(view: StepView) -> list[tuple[StepView, ...]]:
    """The steps under way, each as the path that leads to it; several when threads share the work."""
    if view.ended_at_ns:
        return []
    inner = [path for step in view.steps for path in running_leaves(step)]
    return [(view, *path) for path in inner] or [(view,)]


def failed_leaf(view: StepView) -> tuple[StepView, ...]:
    """The path to the step where the failure began: the first failed one within the failed one."""
    inner = next((step for step in view.steps if step.failure), None)
    return (view, *failed_leaf(inner)) if inner else (view,)


def is_about(view: StepView, ids: frozenset[str]) -> bool:
    """Whether the step, or one within it, works on an object with one of these ids."""
    return view.object_id in ids or any(is_about(step, ids) for step in view.steps)


def is_called(view: StepView, text: str) -> bool:
    """Whether the object of the step, or of one within it, has this name, or an id that begins so."""
    names = (view.label, view.label.partition("/")[2])
    if view.kind and (text in names or view.object_id.removeprefix("sha256:").startswith(text)):
        return True
    return any(is_called(step, text) for step in view.steps)
