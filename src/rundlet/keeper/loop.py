"""A single-threaded event loop: epoll(7) and one callback a descriptor."""

import select
from collections.abc import Callable

Callback = Callable[[], None]

_INTEREST = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR


class Loop:
    """Callbacks run one at a time, in the order the kernel reports; none may block for long."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}

    def add(self, fd: int, callback: Callback) -> None:
        """Call back whenever `fd` can be read or has ended."""
        self._callbacks[fd] = callback
        self._epoll.register(fd, _INTEREST)

    def remove(self, fd: int) -> None:
        """Before `fd` is closed; nothing to do when it was not added."""
        if self._callbacks.pop(fd, None):
            self._epoll.unregister(fd)

    def turn(self, timeout_s: float | None) -> bool:
        """Wait for events and serve them; False when the time passed without any."""
        events = self._epoll.poll(timeout_s if timeout_s is not None else -1)
        for fd, _ in events:
            callback = self._callbacks.get(fd)
            if callback:
                callback()
        return bool(events)

    def close(self) -> None:
        self._epoll.close()
