"""A whole job tried again, for failures that may pass."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

from rundlet.errors import DeadlineExceeded, Unavailable

T = TypeVar("T")
_FIRST_DELAY_S: Final = 1.0


def retrying(attempt: Callable[[], T], times: int, delay_s: float = 0.0) -> T:
    """What `attempt` gives, after up to `times` more attempts; without `delay_s` the pauses double."""
    for number in range(times):
        try:
            return attempt()
        except (Unavailable, DeadlineExceeded):
            time.sleep(delay_s or _FIRST_DELAY_S * 2**number)
    return attempt()
