"""What happened to the pods, containers and images of a run root, for every process to see.

    <run root>/events        JSON lines, the newest last
    <run root>/events.old    the file before; a file of 2 MiB becomes that

    {"time_ns": …, "type": "container", "action": "died", "id": …, "name": …, "image": …, "pod_id": …,
     "labels": {…}, "attributes": {"containerExitCode": "0"}}

Types and actions are podman's: container create, init (made ready once more), start, died, remove,
restart, health_status, …; pod create, stop, remove; others as their rooms name them.  Whoever changes a
record appends a line with one write(2) to the file opened with O_APPEND, so nobody waits for anybody;
only a rotation takes a lock, on the file that is moved away.  It ends with the boot, and is bounded.
"""

import fcntl
import logging
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Literal

from msgspec import Struct

from rundlet.errors import Error
from rundlet.kernel.inotify import IN_CREATE, IN_MODIFY, IN_MOVED_TO, watch_directory
from rundlet.spec.json import decode, encode

_log = logging.getLogger(__name__)
FILE_NAMES = ("events", "events.old")
_SIZE_MAX_BYTES = 2 << 20
_CHUNK_BYTES = 1 << 20
_LOOK_S = 0.5

Type = Literal["container", "pod", "image", "network", "volume", "secret", "system"]


class Entry(Struct, frozen=True, omit_defaults=True):
    """One line; `pod_id` is a container's pod's."""

    time_ns: int
    type: str
    action: str
    id: str
    name: str = ""
    image: str = ""
    pod_id: str = ""
    labels: dict[str, str] = {}
    attributes: dict[str, str] = {}


class Journal:
    """Both ways; every call opens the file anew, so that it never writes to one that was moved away long ago."""

    def __init__(self, run_root: str, size_max_bytes: int = _SIZE_MAX_BYTES) -> None:
        self._directory = run_root
        self._path, self._old_path = (f"{run_root}/{name}" for name in FILE_NAMES)
        self._size_max_bytes = size_max_bytes

    def note(
        self,
        type_: Type,
        action: str,
        id_: str,
        name: str = "",
        image: str = "",
        *,
        pod_id: str = "",
        labels: dict[str, str] | None = None,
        **attributes: str,
    ) -> None:
        """Append one entry; an event that cannot be written down is no reason to fail."""
        entry = Entry(time.time_ns(), type_, action, id_, name, image, pod_id, labels or {}, attributes)
        try:
            self._append(encode(entry) + b"\n")
        except OSError as error:
            _log.debug("event %s of %s is not in the journal: %s", action, id_, error)

    def _append(self, line: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            os.write(fd, line)
            if os.fstat(fd).st_size > self._size_max_bytes:
                self._rotate(fd)
        finally:
            os.close(fd)

    def _rotate(self, fd: int) -> None:
        """One of those who find the file too long moves it; the lock dies with the descriptor."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if os.stat(self._path).st_ino == os.fstat(fd).st_ino:
            os.rename(self._path, self._old_path)

    # -- reading ----------------------------------------------------------------

    def read(self) -> Iterator[Entry]:
        """What is kept, the oldest first."""
        for path in (self._old_path, self._path):
            tail = _Tail(path)
            yield from tail.read()
            tail.close()

    def follow(
        self, *, is_over: Callable[[], bool] = lambda: False, with_past: bool = False
    ) -> Iterator[Entry]:
        """What happens from now on (`with_past`: what is kept before it), until `is_over`, asked twice a second."""
        alarm = watch_directory(self._directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        poll = select.poll()
        poll.register(alarm, select.POLLIN)
        tail = _Tail(self._path)
        try:
            kept = list(tail.read())
            if with_past:
                before = _Tail(self._old_path)
                yield from before.read()
                before.close()
                yield from kept
            over = False
            while not over:
                over = is_over()  # one last look then
                if poll.poll(0 if over else _LOOK_S * 1000):
                    os.read(alarm, _CHUNK_BYTES)
                yield from tail.read()
                if tail.was_moved():
                    moved, tail = tail, _Tail(self._path)
                    yield from moved.read()  # what came between the two looks
                    moved.close()
                    yield from tail.read()
        finally:
            os.close(alarm)
            tail.close()


class _Tail:
    """A file that grows, read by whole lines; one that is not there yet is empty."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._rest = b""

    def read(self) -> Iterator[Entry]:
        """The entries since the last time; a line that is none is left out."""
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return
        while data := os.read(self._fd, _CHUNK_BYTES):
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from filter(None, map(_parse, lines))

    def was_moved(self) -> bool:
        if self._fd < 0:
            return False
        try:
            return os.stat(self._path).st_ino != os.fstat(self._fd).st_ino
        except FileNotFoundError:
            return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _parse(line: bytes) -> Entry | None:
    try:
        return decode(line, Entry, "event")
    except Error:
        return None
