"""What `why` judges by: the steps under way, those that failed, the records.

Of a living engine it is the steps in memory, besides those of other processes under its run
root from their flight records.  Without one (rundletd is dead, hung, or never was) the flight
records and the database are all there is, and enough to tell the step, its age and its peer.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rundlet.cgroup.layout import Layout, detect_layout
from rundlet.engine.feed import Feed
from rundlet.engine.names import is_alive
from rundlet.engine.parts import Parts
from rundlet.engine.recordtables import ContainerRecords, PodRecords
from rundlet.errors import NotFound
from rundlet.kernel.failure import translating
from rundlet.store.database import Database
from rundlet.store.images import ImageRecord
from rundlet.trace.flight import read_flights
from rundlet.trace.view import FailureView, StepView, clock_offset_ns, end_steps, view_flight, view_span

_KILLED = FailureView("killed", "the process that did it was killed")


class Evidence(NamedTuple):
    """Steps of every process of the run root; `failed` are the newest of those, the oldest first."""

    now_ns: int
    run_root: str
    running: tuple[StepView, ...]
    failed: tuple[StepView, ...]
    pods: PodRecords
    containers: ContainerRecords
    find_image: Callable[[str], ImageRecord | None]
    layout: Layout


def gather(parts: Parts) -> Evidence:
    """As a living engine has it."""
    offset_ns = clock_offset_ns()
    running, failed = _read_others(parts.settings.run_root, parts.identity, offset_ns)
    running += [view_span(span, offset_ns) for span in parts.tracer.running()]
    failed += [view_span(span, offset_ns) for span in parts.tracer.ended() if span.failure]
    return Evidence(
        now_ns=time.time_ns(),
        run_root=parts.settings.run_root,
        running=tuple(running),
        failed=tuple(failed),
        pods=parts.pods,
        containers=parts.containers,
        find_image=parts.find_image,
        layout=parts.layout,
    )


@contextmanager
def open_evidence(root: str, run_root: str) -> Iterator[Evidence]:
    """Without an engine, changing nothing.  Raises NotFound when no engine has ever been there."""
    path = f"{root}/state.db"
    if not os.path.exists(path):
        raise NotFound(f"no records at {path}", hint="name the right roots with --root and --run-root")
    database = Database(path, ())
    try:
        running, failed = _read_others(run_root, "", clock_offset_ns())
        yield Evidence(
            now_ns=time.time_ns(),
            run_root=run_root,
            running=tuple(running),
            failed=tuple(failed),
            pods=PodRecords(database, Feed()),
            containers=ContainerRecords(database, Feed()),
            find_image=lambda _: None,
            layout=detect_layout(),
        )
    finally:
        database.close()


def _read_others(run_root: str, own: str, offset_ns: int) -> tuple[list[StepView], list[StepView]]:
    """(under way, cut off by a kill) in other processes than `own`."""
    running: list[StepView] = []
    failed: list[StepView] = []
    with translating(f"read the flight records under {run_root}"):
        flights = read_flights(run_root)
    for flight in flights:
        view = view_flight(flight, offset_ns)
        if flight.identity == own:
            continue
        if is_alive(flight.identity):
            running.append(view)
        else:
            failed.append(end_steps(view, _KILLED, time.time_ns()))
    return running, failed
