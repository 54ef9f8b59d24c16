"""The times of a first process's own steps, for a plan that asks for them (`ContainerPlan.traced`)."""

import time
from types import TracebackType

from rundlet.step import watch

_STEPS_MAX = 500  # what a report has room for

Timed = tuple[str, int, int]
"""A step's name, when it began and when it ended, in nanoseconds since the epoch.

Not of CLOCK_MONOTONIC: a time namespace has its own.
"""


class Stopwatch:
    """Notes every step of this process from now on."""

    def __init__(self) -> None:
        self.steps: list[Timed] = []
        watch(lambda name, _subject: _Running(self.steps, name))


class _Running:
    def __init__(self, steps: list[Timed], name: str) -> None:
        self._steps = steps
        self._name = name

    def __enter__(self) -> None:
        self._started_ns = time.time_ns()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if len(self._steps) < _STEPS_MAX:
            self._steps.append((self._name, self._started_ns, time.time_ns()))
