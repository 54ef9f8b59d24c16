"""What happens to pods and containers, told to whoever listens while it happens.

The records are the one place that every change passes, so they tell; a listener that
does not keep up loses the oldest events and is told how many.  Other processes read of them in
the journal (`engine.journal`).
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, NamedTuple, Self

from rundlet.engine.journal import Journal

_QUEUE_MAX = 4096

Kind = Literal["pod", "container"]
Change = Literal["created", "started", "stopped", "deleted"]


class Event(NamedTuple):
    """`id` is the pod's own for a pod; `pod_id` says whose the container is."""

    time_ns: int
    kind: Kind
    id: str
    pod_id: str
    change: Change


class About(NamedTuple):
    """What the journal says besides: of a container its image, exit code and how often it was made ready."""

    name: str = ""
    image: str | None = ""
    labels: str | None = None
    origin: str | None = None
    exit_code: int | None = None
    lives: int | None = None


class Subscription:
    """Events from now on, in order; ends when it is stopped."""

    def __init__(self, feed: "Feed") -> None:
        self._feed = feed
        self._arrived = threading.Condition()
        self._events: deque[Event] = deque()
        self._stopped = False
        self.lost = 0

    def put(self, event: Event) -> None:
        with self._arrived:
            if len(self._events) >= _QUEUE_MAX:
                self._events.popleft()
                self.lost += 1
                self._feed.lost += 1
            self._events.append(event)
            self._arrived.notify()

    def stop(self) -> None:
        """End the iteration, from any thread."""
        with self._arrived:
            self._stopped = True
            self._arrived.notify_all()

    def __iter__(self) -> Iterator[Event]:
        while True:
            with self._arrived:
                self._arrived.wait_for(lambda: self._events or self._stopped)
                if self._stopped:
                    return
                event = self._events.popleft()
            yield event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._feed.leave(self)


_ACTIONS: dict[tuple[Kind, Change], str] = {
    ("container", "created"): "create",
    ("container", "started"): "start",
    ("container", "stopped"): "died",
    ("container", "deleted"): "remove",
    ("pod", "started"): "create",
    ("pod", "stopped"): "stop",
    ("pod", "deleted"): "remove",
}


def _write_down(
    journal: Journal, kind: Kind, object_id: str, pod_id: str, change: Change, about: About
) -> None:
    """A pod that was made here is told of by who knows whether it is one of a container's own."""
    if kind == "pod" and about.origin == "local":
        return
    action = _ACTIONS.get((kind, change), change)
    if action == "create" and (about.lives or 1) > 1:
        action = "init"
    attributes = {"containerExitCode": str(about.exit_code)} if action == "died" else {}
    journal.note(
        kind,
        action,
        object_id,
        about.name,
        about.image or "",
        pod_id=pod_id,
        labels=json.loads(about.labels or "{}"),
        **attributes,
    )


class Feed:
    """One engine's events; thread-safe."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._guard = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._journal = journal
        self.lost = 0  # by all listeners together

    def tell(
        self,
        kind: Kind,
        object_id: str,
        pod_id: str,
        change: Change,
        about: About = About(),  # noqa: B008 - immutable
    ) -> None:
        """Never waits for a listener."""
        if self._journal is not None:
            _write_down(self._journal, kind, object_id, pod_id, change, about)
        event = Event(time.time_ns(), kind, object_id, pod_id, change)
        with self._guard:
            listeners = list(self._subscriptions)
        for listener in listeners:
            listener.put(event)

    def subscribe(self) -> Subscription:
        """Use it as a context manager: it is forgotten at the end."""
        subscription = Subscription(self)
        with self._guard:
            self._subscriptions.append(subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        with self._guard:
            self._subscriptions.remove(subscription)

    def close(self) -> None:
        """End every iteration."""
        with self._guard:
            listeners = list(self._subscriptions)
        for listener in listeners:
            listener.stop()
