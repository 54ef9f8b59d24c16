"""Steps on scheduling and memory of one process; imported for plans that have them only."""

from collections.abc import Callable
from typing import Any

from rundlet.kernel import ioprio, mempolicy, personality, sched
from rundlet.plan import attributes as a
from rundlet.runtime.context import Context


def _set_scheduler(step: a.SetScheduler, _: Context) -> None:
    sched.set_scheduler(*step[1:])


def _set_io_priority(step: a.SetIoPriority, _: Context) -> None:
    ioprio.set_io_priority(step.io_class, step.priority)


def _set_personality(step: a.SetPersonality, _: Context) -> None:
    personality.set_personality(step.domain)


def _set_memory_policy(step: a.SetMemoryPolicy, _: Context) -> None:
    mempolicy.set_memory_policy(step.mode, step.nodes)


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {
    a.SetScheduler: _set_scheduler,
    a.SetIoPriority: _set_io_priority,
    a.SetPersonality: _set_personality,
    a.SetMemoryPolicy: _set_memory_policy,
}
