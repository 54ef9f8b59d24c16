"""Read a file while another thread downloads it, so that unpacking need not wait for the end."""

import os
import threading
from typing import Self

from rundlet.errors import Cancelled, Error


class Restarted(Exception):
    """The download began anew: what was read so far was not the blob."""


class Follower:
    """The reading end; the download reports to `grew` and `finish` from its own thread.

    The end of the file is told only after `finish(None)`: what has been read by then is verified.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._changed = threading.Condition()
        # opened (and made) before the download begins, which removes it when it was no blob
        self._fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._at = 0
        self._available = 0
        self._restarted = False
        self._finished = False
        self._stopped = False
        self.error: Error | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    def grew(self, done_bytes: int) -> None:
        """The file holds `done_bytes` now; fewer than before when the download begins anew."""
        with self._changed:
            self._restarted = self._restarted or done_bytes < self._at
            self._available = done_bytes
            self._changed.notify_all()

    def finish(self, error: Error | None) -> None:
        """The download has ended, well (None) or with `error`, which the reader gets."""
        with self._changed:
            self._finished = True
            self.error = error
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing more will be read: whoever still waits gives up."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def read(self, size: int, /) -> bytes:
        """The next bytes, b"" at the verified end.  Raises Restarted and the download's error."""
        with self._changed:
            self._changed.wait_for(self._is_decided)
            if self._stopped:
                raise Cancelled("unpacking has ended")
            self.check()
            if self._restarted:
                raise Restarted
            size = min(size, self._available - self._at)
        data = os.pread(self._fd, size, self._at)
        if len(data) < size:  # the file was cut off, and `grew` is about to tell
            raise Restarted
        self._at += size
        return data

    def check(self) -> None:
        """Raises the error that the download ended with, if it did."""
        if self.error is not None:
            raise self.error

    def _is_decided(self) -> bool:
        return self._available > self._at or self._finished or self._restarted or self._stopped
