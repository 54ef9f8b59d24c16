r"""The flight record: steps under way, in a file that outlives a killed process.

    <run root>/trace/<identity>_<n>     the n-th of one process; written through a mapping

    slot 0   depth (1 byte), then 7 lines of up to 255 bytes, the outermost step first; `depth` of them count
    slot 1   …
    a line   started name kind id label wait-kind wait-name pid since until, with \x1f between, then \n

Each thread that works on an operation has a slot while it does.  Writing a line is a copy
into memory, about a microsecond, so the record is always on; the page cache keeps it when
the process is killed, and whoever asks reads it without the process's help, hung or dead.
A reader may meet a line half written: it does not parse, and is passed over.
"""

import itertools
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rundlet.trace.span import Lane, Span, Wait

_LINE_BYTES = 255
_LINES = 7
_SLOT_BYTES = 2048
_SLOTS = 128
_NUMBERS = (0, 7, 8, 9)
_FIELDS = 10

_numbers = itertools.count(1)  # of the engines of this process


class Step(NamedTuple):
    """A step under way, as the record has it; times are of CLOCK_MONOTONIC."""

    started_ns: int
    name: str
    kind: str
    object_id: str
    label: str
    wait: Wait | None


class Flight(NamedTuple):
    """What one thread of the process `identity` is, or was, doing: its steps, the outermost first."""

    identity: str
    steps: tuple[Step, ...]


class FlightRecorder:
    """The record of this process, which `identity` names."""

    def __init__(self, run_root: str, identity: str) -> None:
        """Raises OSError."""
        directory = _directory(run_root)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        self._path = f"{directory}/{identity.replace('/', '_')}_{next(_numbers)}"
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Now, not when a slot is first written: a full file system would be SIGBUS then.
            os.posix_fallocate(fd, 0, _SLOTS * _SLOT_BYTES)
            self.memory = mmap.mmap(fd, _SLOTS * _SLOT_BYTES)
        except OSError:
            self.close()
            raise
        finally:
            os.close(fd)
        self._free = list(range(_SLOTS - 1, -1, -1))  # taken from the end: pages once touched are used again

    def open_lane(self, root: Span, *, shared: bool = False) -> "SlotLane | None":
        """A slot for this thread's steps, `root`'s line first; None when all are taken.

        `shared`: the operation itself is another thread's.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        return SlotLane(self, slot, root, shared=shared)

    def close_lane(self, slot: int) -> None:
        self._free.append(slot)

    def close(self) -> None:
        """The file goes; what still runs writes into memory that nobody sees."""
        _remove(self._path)


class SlotLane:
    """One thread's slot."""

    __slots__ = ("_base", "_depth", "_floor", "_memory", "_recorder", "_slot", "_thread")

    def __init__(self, recorder: FlightRecorder, slot: int, root: Span, *, shared: bool) -> None:
        self._recorder = recorder
        self._memory = recorder.memory
        self._slot = slot
        self._base = slot * _SLOT_BYTES
        self._depth = 0
        self._floor = 1 if shared else 0  # another thread's operation goes with the last step here
        self._thread = threading.get_ident()
        self._push(root)

    def enter(self, span: Span, /) -> Lane | None:
        """This lane, or another thread's own."""
        if threading.get_ident() == self._thread:
            self._push(span)
            return self
        lane = self._recorder.open_lane(span.root, shared=True) if span.root is not None else None
        return lane.enter(span) if lane is not None else None

    def leave(self) -> None:
        self._depth -= 1
        if self._depth == self._floor:
            self._memory[self._base] = 0
            self._recorder.close_lane(self._slot)
        else:
            self._memory[self._base] = min(self._depth, _LINES)

    def _push(self, span: Span) -> None:
        self._depth += 1
        span.depth = self._depth
        if self._depth <= _LINES:
            self.update(span)
            self._memory[self._base] = self._depth

    def update(self, span: Span, /) -> None:
        if span.depth <= _LINES:
            line = _format_line(span)
            start = self._base + 1 + (span.depth - 1) * _LINE_BYTES
            self._memory[start : start + len(line)] = line


def _format_line(span: Span) -> bytes:
    kind, name, pid, since_ns, until_ns = span.wait or ("", "", 0, 0, 0)
    fields = (
        f"{span.started_ns}\x1f{span.name}\x1f{span.kind}\x1f{span.object_id}\x1f{span.label[:60]}\x1f"
        f"{kind}\x1f{name[-60:]}\x1f{pid}\x1f{since_ns}\x1f{until_ns}\n"
    )
    return fields.encode("utf-8", "replace")[:_LINE_BYTES]


def read_flights(run_root: str) -> list[Flight]:
    """What every process of `run_root` is doing, or was doing when it died.  Raises OSError."""
    return [flight for name in _list_names(run_root) for flight in _read_file(run_root, name)]


def take_flights(run_root: str, is_alive: Callable[[str], bool]) -> list[Flight]:
    """What dead processes were doing; their records go.  `is_alive` is asked by identity.  Raises OSError."""
    found: list[Flight] = []
    for name in _list_names(run_root):
        if not is_alive(_identity(name)):
            found += _read_file(run_root, name)
            _remove(f"{_directory(run_root)}/{name}")
    return found


def _list_names(run_root: str) -> list[str]:
    try:
        return os.listdir(_directory(run_root))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _read_file(run_root: str, name: str) -> Iterator[Flight]:
    try:
        with open(f"{_directory(run_root)}/{name}", "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return
    for base in range(0, len(content) - _SLOT_BYTES + 1, _SLOT_BYTES):
        steps = tuple(_parse_slot(content[base : base + _SLOT_BYTES]))
        if steps:
            yield Flight(_identity(name), steps)


def _parse_slot(slot: bytes) -> Iterator[Step]:
    for number in range(min(slot[0], _LINES)):
        start = 1 + number * _LINE_BYTES
        fields = (
            slot[start : start + _LINE_BYTES].partition(b"\n")[0].decode("utf-8", "replace").split("\x1f")
        )
        if len(fields) == _FIELDS and all(fields[index].isdecimal() for index in _NUMBERS):
            wait = Wait(fields[5], fields[6], int(fields[7]), int(fields[8]), int(fields[9]))
            name, kind, object_id, label = fields[1:5]
            yield Step(int(fields[0]), name, kind, object_id, label, wait if wait.kind else None)


def _directory(run_root: str) -> str:
    return f"{run_root}/trace"


def _identity(file_name: str) -> str:
    return file_name.rpartition("_")[0].replace("_", "/")
