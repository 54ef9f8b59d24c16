"""Named steps of the work, for whoever wants to watch it: traces, "what is it stuck at", tests that kill.

    with step("pod.network", pod_id):
        …

Names are `room.what` in lower case (`pod.reserve`, `keeper.clone`, `network.add.bridge`); those of a
container's first process are the plan's own (`MountOverlay`).  The subject is the id of the pod or the
container that the step is about, where that is known.

Nobody watches: a step costs one call and enters an object that does nothing (0.2 µs).  `watch` adds an
observer to this process; one that is set in the environment by RUNDLET_FAILPOINTS is `rundlet.failpoint`.
Every room uses this module, the keeper's and the runtime's among them, so it imports next to nothing.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # `typing` would cost every program that has steps 0.8 MB
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Protocol

    class Watched(Protocol):
        """One step under way; what the block raises goes on, whatever an observer answers."""

        def __enter__(self) -> object: ...

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
            /,
        ) -> None: ...

    Observer = Callable[[str, str], Watched]
    """(name, subject) of a step that is about to begin; it is entered before and left after the step."""


class _Unwatched:
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


class _Nested:
    """Two observers of one step: the one that came first is outside."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Watched, inner: Watched) -> None:
        self._outer = outer
        self._inner = inner

    def __enter__(self) -> None:
        self._outer.__enter__()
        try:
            self._inner.__enter__()
        except BaseException as error:
            self._outer.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._inner.__exit__(kind, error, trace)
        self._outer.__exit__(kind, error, trace)


_FAILPOINTS = "RUNDLET_FAILPOINTS"
_UNWATCHED = _Unwatched()
_observer: Observer | None = None


def step(name: str, subject: str = "") -> Watched:
    """Mark the `with` block as the step `name`."""
    return _UNWATCHED if _observer is None else _observer(name, subject)


def watch(observer: Observer) -> None:
    """Have every step of this process, from now on, seen by `observer` too."""
    global _observer  # noqa: PLW0603 - one process, one set of observers
    first = _observer
    if first is None:
        _observer = observer
    else:
        _observer = lambda name, subject: _Nested(first(name, subject), observer(name, subject))  # noqa: E731


def environment() -> dict[str, str]:
    """What a process that starts with an empty environment is given, so that its steps are watched too."""
    return {name: os.environ[name] for name in (_FAILPOINTS,) if name in os.environ}


if _FAILPOINTS in os.environ:
    from rundlet import failpoint

    watch(failpoint.open_observer(os.environ[_FAILPOINTS]))
