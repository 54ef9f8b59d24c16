"""What runs, step by step: the tracer's view of `rundlet.step`.

    with step("network.add.bridge", pod_id):      rundlet.step: a step of whatever this thread is doing
        waits("process", "/opt/cni/bin/bridge", pid=4711)

Outside of an operation (`rundlet.trace.tracer`) neither is noted.  A step costs two to three
microseconds.  A thread that works for another one is started in the context of that one
(`contextvars.copy_context().run`), and its steps land where they belong.
"""

from collections.abc import Iterable
from contextvars import ContextVar
from time import monotonic_ns, time_ns
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from rundlet.errors import Error

STEPS_MAX = 512
"""Steps that one operation remembers; further ones are counted."""


class Wait(NamedTuple):
    """What a step waits for; times are of CLOCK_MONOTONIC, 0 is "not known" or "for ever".

    `kind` is process, keeper, registry, lock, operation or kernel; `name` says which one: a
    program, a socket, a host, a lock's file or key, what is done to an object.
    """

    kind: str
    name: str
    pid: int = 0
    since_ns: int = 0
    until_ns: int = 0


class Failure(NamedTuple):
    """`code` is the error's class in the taxonomy, or a foreign exception's name."""

    code: str
    message: str
    hint: str = ""


class Lane(Protocol):
    """Where the steps of one thread are written down while they run (`rundlet.trace.flight`)."""

    def enter(self, span: "Span", /) -> "Lane | None":
        """A step begins; the lane that it is in."""

    def update(self, span: "Span", /) -> None:
        """It waits for something else now, or has got its object."""

    def leave(self) -> None:
        """The innermost step has ended."""


class Span:
    """One step, and the steps within it.  `ended_ns` is 0 while it runs; times are of CLOCK_MONOTONIC.

    Of an operation, `kind` and `object_id` name the object that it works on, `label` the
    object's name for people; `object_id` of a plain step is what `rundlet.step` calls its subject.  `progress` is (bytes done, bytes in all).
    `parent` and `root`, the outermost step, are None once it has ended.
    """

    __slots__ = (
        "_token",
        "depth",
        "ended_ns",
        "failure",
        "kind",
        "label",
        "lane",
        "name",
        "object_id",
        "parent",
        "progress",
        "root",
        "started_ns",
        "steps",
        "wait",
    )

    def __init__(
        self, name: str, parent: "Span | None", kind: str = "", object_id: str = "", label: str = ""
    ) -> None:
        self.name = name
        self.kind = kind
        self.object_id = object_id
        self.label = label
        self.parent = parent
        self.root: Span | None = parent.root if parent is not None else self
        self.lane: Lane | None = None
        self.depth = 0  # in its lane
        self.started_ns = 0
        self.ended_ns = 0
        self.failure: Failure | None = None
        self.wait: Wait | None = None
        self.progress: tuple[int, int] | None = None
        self.steps: list[Span] | tuple[Span, ...] = []

    def __enter__(self) -> Self:
        self.started_ns = monotonic_ns()
        parent = self.parent
        if parent is not None:
            parent.take(self)
            if parent.lane is not None:
                self.lane = parent.lane.enter(self)
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended_ns = monotonic_ns()
        if error is not None:
            self.failure = describe_failure(error)
        _current.reset(self._token)
        if self.lane is not None:
            self.lane.leave()
            self.lane = None
        # What has ended looks down only: circles would wait for the collector, 4 MB of them in a daemon.
        del self._token
        self.parent = self.root = None
        if not self.steps:
            self.steps = ()

    def take(self, step: "Span") -> None:
        """Have `step` as a part, where there is room; a thread's step may come when this one has ended."""
        if isinstance(self.steps, list) and self.root is not None and self.root.admit():
            self.steps.append(step)

    def admit(self) -> bool:
        """Asked of the outermost step: whether there is room for one more."""
        return True

    def wait_for(self, wait: Wait) -> None:
        self.wait = wait
        if self.lane is not None:
            self.lane.update(self)

    def identify(self, object_id: str) -> None:
        """Only now it is known which object this is about."""
        self.object_id = object_id
        if self.lane is not None:
            self.lane.update(self)


class _Nothing:
    """A step outside of any operation."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


_NOTHING = _Nothing()
_current: ContextVar[Span | None] = ContextVar("rundlet_step", default=None)


def observe_step(name: str, subject: str) -> Span | _Nothing:
    """The observer for `rundlet.step.watch`: each step becomes a part of what its thread is doing."""
    parent = _current.get()
    return Span(name, parent, "", subject) if parent is not None else _NOTHING


def waits(kind: str, name: str, pid: int = 0, timeout_s: float | None = None) -> None:
    """The running step waits for this from now on, for `timeout_s` at most."""
    span = _current.get()
    if span is not None:
        now = monotonic_ns()
        until_ns = 0 if timeout_s is None else now + int(timeout_s * 1e9)
        span.wait_for(Wait(kind, name, pid, now, until_ns))


def advances(done_bytes: int, total_bytes: int) -> None:
    """How far the running step has come."""
    span = _current.get()
    if span is not None:
        span.progress = (done_bytes, total_bytes)


def describe(label: str) -> None:
    """What kind of thing the running step is about, for those who count."""
    span = _current.get()
    if span is not None:
        span.label = label


def identify(object_id: str) -> None:
    """The innermost running operation is about this object, which has got its id only now."""
    span = _current.get()
    while span is not None and not span.kind:
        span = span.parent
    if span is not None:
        span.identify(object_id)


def graft(steps: Iterable[tuple[str, int, int]]) -> None:
    """Steps that another process did for the running one: name, beginning and end since the epoch."""
    outer = _current.get()
    if outer is None:
        return
    offset_ns = time_ns() - monotonic_ns()
    for name, started_at_ns, ended_at_ns in steps:
        span = Span(name, outer)
        span.started_ns, span.ended_ns = started_at_ns - offset_ns, ended_at_ns - offset_ns
        outer.take(span)


def current() -> Span | None:
    """The running step of this thread."""
    return _current.get()


def describe_failure(error: BaseException) -> Failure:
    if isinstance(error, Error):
        return Failure(error.code, error.message, error.hint)
    return Failure(type(error).__name__, str(error))
