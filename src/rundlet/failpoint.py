"""Kill or fail at a named step: what the crash tests do to a process at work.

Only a process whose environment has RUNDLET_FAILPOINTS=FILE imports this; the keeper hands the variable on.
The file is mapped, so a process still has it behind pivot_root(2), in other namespaces, and after it has
closed every descriptor:

    0      state      0 nothing, 1 armed, 2 reached (it waits), 3 go on
    1      errno      raised at the point; 0: the process waits there; 255: it ends there
    2      round      another number each time that a point is armed
    3      the point  "name:before" or "name:after", NUL behind it
    4096   areas of 4096 bytes, by pid modulo their number: the points that the process passed

A test writes the point, the errno and state 1.  The first process that gets there changes the state to 2
and either waits for 3, so that anybody can be killed meanwhile, or raises OSError, as a full disk would,
or ends at once.  A point is reached once; whoever comes by again is not stopped.
"""

import mmap
import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

IDLE: Final = 0
ARMED: Final = 1
REACHED: Final = 2
GO: Final = 3
WAIT: Final = 0
END: Final = 255

POINT_AT: Final = 3
AREA_BYTES: Final = 4096
AREAS: Final = 256
FILE_BYTES: Final = AREA_BYTES * (AREAS + 1)

_LOOK_S = 0.0005


class Failpoints:
    """Both sides of the file."""

    def __init__(self, path: str) -> None:
        """The file must be there, FILE_BYTES of zeros to begin with."""
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), FILE_BYTES)

    # -- the process at work ------------------------------------------------------

    def pass_by(self, point: str) -> None:
        """Note the point, and stop there when it is the one that is armed."""
        encoded = point.encode() + b"\0"
        self._note(encoded)
        if self._map[0] != ARMED or self._map[POINT_AT : POINT_AT + len(encoded)] != encoded:
            return
        number, armed = self._map[1], self._map[2]
        self._map[0] = REACHED
        if number == END:
            os._exit(1)
        if number:
            raise OSError(number, os.strerror(number))
        while self._map[0] == REACHED and self._map[2] == armed:
            time.sleep(_LOOK_S)

    def _note(self, encoded: bytes) -> None:
        start = AREA_BYTES * (1 + os.getpid() % AREAS)
        area = self._map[start : start + AREA_BYTES]
        end = len(area.rstrip(b"\0"))
        offset = end + 1 if end else 0
        if b"\0" + encoded in b"\0" + area or offset + len(encoded) > AREA_BYTES:
            return
        self._map[start + offset : start + offset + len(encoded)] = encoded

    # -- the test -----------------------------------------------------------------

    def arm(self, point: str, number: int = WAIT) -> None:
        encoded = point.encode() + b"\0"
        self._map[POINT_AT : POINT_AT + len(encoded)] = encoded
        self._map[1] = number
        self._map[2] = (self._map[2] + 1) % 256
        self._map[0] = ARMED

    def is_reached(self) -> bool:
        return self._map[0] == REACHED

    def let_go(self) -> None:
        """Whoever waits goes on; nothing is armed any more."""
        self._map[0] = GO

    def take_passed(self) -> set[str]:
        """The points that any process has passed since the last look."""
        text = self._map[AREA_BYTES:]
        self._map[AREA_BYTES:] = bytes(len(text))
        return {name.decode() for name in text.split(b"\0") if name}


class _Stop:
    """A step as the points before and after it."""

    __slots__ = ("_failpoints", "_name")

    def __init__(self, failpoints: Failpoints, name: str) -> None:
        self._failpoints = failpoints
        self._name = name

    def __enter__(self) -> None:
        self._failpoints.pass_by(f"{self._name}:before")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if kind is None:
            self._failpoints.pass_by(f"{self._name}:after")


def open_observer(path: str) -> Callable[[str, str], _Stop]:
    """For `rundlet.step.watch`."""
    failpoints = Failpoints(path)
    return lambda name, _subject: _Stop(failpoints, name)
