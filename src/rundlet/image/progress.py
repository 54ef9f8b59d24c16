"""What a pull tells whoever watches it."""

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
