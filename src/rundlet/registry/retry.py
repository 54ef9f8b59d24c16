"""When to try again: exponential backoff with jitter, the peer's Retry-After, deadlines.

Clocks and sleeping are values (`Clock`), so tests run on a clock of their own.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from rundlet.errors import Cancelled, DeadlineExceeded

_FIRST_DELAY_S = 0.25
_DELAY_MAX_S = 8.0
# Longer waits are the caller's to decide: we say what the registry asked for and fail.
RETRY_AFTER_MAX_S = 60.0


def _sleep(delay_s: float, cancel: threading.Event | None) -> None:
    if cancel is None:
        time.sleep(delay_s)
    else:
        cancel.wait(delay_s)


class Clock(NamedTuple):
    """`now_ns` is CLOCK_MONOTONIC, `wall_s` the time of day, `jitter` in [0, 1)."""

    now_ns: Callable[[], int] = time.monotonic_ns
    wall_s: Callable[[], float] = time.time
    sleep: Callable[[float, threading.Event | None], None] = _sleep
    jitter: Callable[[], float] = random.random


class Limits(NamedTuple):
    """When a caller gives up: a CLOCK_MONOTONIC time, an event, either or none."""

    clock: Clock
    deadline_ns: int | None = None
    cancel: threading.Event | None = None

    def left_s(self) -> float:
        """Seconds until the deadline, endless without one; may be negative."""
        if self.deadline_ns is None:
            return float("inf")
        return (self.deadline_ns - self.clock.now_ns()) / 1e9

    def check(self, what: str, cause: Exception | None = None) -> None:
        """Raises Cancelled or DeadlineExceeded when it is time to give up on `what`."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled(f"{what}: cancelled") from cause
        if self.left_s() <= 0:
            reason = f": {cause}" if cause else ""
            raise DeadlineExceeded(f"{what}: the time for it has passed{reason}") from cause

    def wait(self, delay_s: float, what: str, cause: Exception | None = None) -> None:
        """Sleep; when the deadline comes sooner than `delay_s`, raise at once instead."""
        self.check(what, cause)
        if delay_s >= self.left_s():
            raise DeadlineExceeded(f"{what}: no time left to try again: {cause}") from cause
        self.clock.sleep(delay_s, self.cancel)
        self.check(what, cause)


def backoff_delay_s(attempt: int, retry_after_s: float, clock: Clock) -> float:
    """How long to wait after failed `attempt` (0 is the first)."""
    longest_s = min(_FIRST_DELAY_S * (1 << attempt), _DELAY_MAX_S)
    return max(retry_after_s, longest_s * (0.5 + clock.jitter() / 2))


def parse_retry_after(text: str, now_s: float) -> float:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3); 0 when absent or malformed."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    if not text:
        return 0.0
    from email.utils import parsedate_to_datetime  # a slow import, for a rare header

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, OverflowError):
        return 0.0
