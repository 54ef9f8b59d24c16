"""What pulls and copies tell whoever watches them."""

from collections.abc import Callable
from typing import Literal, NamedTuple


class PullProgress(NamedTuple):
    """One blob's state; calls come from several threads, each blob's in order.

    `state` goes from "downloading" (with `done_bytes` of `size_bytes` received) to
    "ready"; content that is here already is "ready" at once.  A watcher ends the pull by
    raising Cancelled.
    """

    digest: str
    state: Literal["downloading", "ready"]
    done_bytes: int
    size_bytes: int


Watcher = Callable[[PullProgress], None]


class CopyProgress(NamedTuple):
    """One blob of a copy; calls come from several threads, each blob's in order.

    `state` goes from "copying" to "done"; what is not moved is "skipped" or "mounted" at once.
    `size_bytes` is 0 when it is not known.  A watcher ends the copy by raising Cancelled.
    """

    digest: str
    state: Literal["copying", "done", "skipped", "mounted"]
    done_bytes: int
    size_bytes: int


CopyWatcher = Callable[[CopyProgress], None]
