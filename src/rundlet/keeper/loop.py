"""A single-threaded event loop: epoll(7), callbacks for each descriptor."""

import select
import time
from collections.abc import Callable

Callback = Callable[[], None]
Timer = tuple[float, Callback]
"""When (time.monotonic), and what."""

_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITE = select.EPOLLOUT


class Loop:
    """Callbacks run one at a time, in the order the kernel reports; none may block for long.

    What has more to do than one portion asks for `soon`, so that everybody gets a turn.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._edges: set[int] = set()
        self._priority: set[int] = set()
        self._soon: list[Callback] = []
        self._timers: list[Timer] = []

    def add(self, fd: int, callback: Callback) -> None:
        """Call back as long as `fd` can be read or has ended."""
        self._change(fd, self._readers, callback)

    def add_edge(self, fd: int, callback: Callback) -> None:
        """Call back once whenever something has come to `fd`, read or not (epoll(7), EPOLLET)."""
        self._edges.add(fd)
        self._change(fd, self._readers, callback)

    def add_writer(self, fd: int, callback: Callback) -> None:
        """Call back as long as `fd` takes data."""
        self._change(fd, self._writers, callback)

    def remove(self, fd: int) -> None:
        """No more reading; nothing to do when it was not added.  Before `fd` is closed, both."""
        self._change(fd, self._readers, None)
        self._edges.discard(fd)
        self._priority.discard(fd)

    def remove_writer(self, fd: int) -> None:
        self._change(fd, self._writers, None)

    def soon(self, callback: Callback) -> None:
        """Call back in the next turn, once."""
        self._soon.append(callback)

    def later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back once when the time has passed; whoever has no more use for that cancels it.

        One that is left to pass in vain is a turn in which something happened, so nobody comes to rest.
        """
        timer = (time.monotonic() + delay_s, callback)
        self._timers.append(timer)
        return timer

    def cancel(self, timer: Timer) -> None:
        """Nothing to do when its time has come already."""
        self._timers = [other for other in self._timers if other is not timer]

    def add_priority(self, fd: int, callback: Callback) -> None:
        """Call back when there is something exceptional about `fd` (poll(2), POLLPRI)."""
        self._priority.add(fd)
        self._change(fd, self._readers, callback)

    def _change(self, fd: int, callbacks: dict[int, Callback], callback: Callback | None) -> None:
        before = self._interest(fd)
        if callback is not None:
            callbacks[fd] = callback
        else:
            callbacks.pop(fd, None)
        after = self._interest(fd)
        if before == after:
            return
        if not before:
            self._epoll.register(fd, after)
        elif after:
            self._epoll.modify(fd, after)
        else:
            self._epoll.unregister(fd)

    def _interest(self, fd: int) -> int:
        read = select.EPOLLPRI if fd in self._priority else _READ
        interest = (read if fd in self._readers else 0) | (_WRITE if fd in self._writers else 0)
        return interest | select.EPOLLET if interest and fd in self._edges else interest

    def turn(self, timeout_s: float | None) -> bool:
        """Wait for events and serve them; False when the time passed without any."""
        soon, self._soon = self._soon, []
        events = self._epoll.poll(0 if soon else self._patience(timeout_s))
        for fd, happened in events:
            if happened & ~_WRITE:
                self._readers.get(fd, _nothing)()
            if happened & ~select.EPOLLIN:
                self._writers.get(fd, _nothing)()
        due = self._take_due()
        for callback in (*soon, *due):
            callback()
        return bool(events or soon or due)

    def _patience(self, timeout_s: float | None) -> float:
        """Until the next timer, or `timeout_s`; -1 is for ever."""
        if not self._timers:
            return -1 if timeout_s is None else timeout_s
        left_s = max(0.0, min(when for when, _ in self._timers) - time.monotonic())
        return left_s if timeout_s is None else min(left_s, timeout_s)

    def _take_due(self) -> list[Callback]:
        if not self._timers:
            return []
        now = time.monotonic()
        due = [callback for when, callback in self._timers if when <= now]
        self._timers = [timer for timer in self._timers if timer[0] > now]
        return due

    def close(self) -> None:
        self._epoll.close()


def _nothing() -> None:
    """The descriptor was removed earlier in the same turn."""
