"""Which inputs are worth keeping: small ones that fail alike, and those that come where no other does."""

import sys
import traceback
from collections.abc import Iterable
from types import FrameType
from typing import Any

from tests.fuzz.target import Target, play

_SHRINK_RUNS = 2000
_OURS = "/src/rundlet/"

Place = tuple[str, int]


def find_fault(target: Target, data: bytes) -> str:
    """What fails and where, "" when it holds: the same for inputs that fail alike."""
    try:
        play(target, data)
    except Exception as error:  # noqa: BLE001  whatever it is, that is the fault
        frames = traceback.extract_tb(error.__traceback__)
        last = next((frame for frame in reversed(frames) if _OURS in frame.filename), frames[-1])
        return f"{type(error).__name__} at {last.filename.rpartition('/src/')[2]}:{last.lineno}"
    return ""


def shrink(target: Target, data: bytes) -> bytes:
    """`data` with pieces left out, as long as it fails alike (Zeller's ddmin, halves first)."""
    fault, runs, size = find_fault(target, data), 0, len(data) // 2
    while fault and size and runs < _SHRINK_RUNS:
        at = 0
        while at < len(data) and runs < _SHRINK_RUNS:
            runs += 1
            less = data[:at] + data[at + size :]
            if find_fault(target, less) == fault:
                data = less
            else:
                at += size
        size //= 2
    return data


def choose(target: Target, kept: Iterable[bytes], inputs: Iterable[bytes]) -> list[bytes]:
    """Those of `inputs`, in their order, that come to a line that none before them comes to; `kept` are before."""
    seen: set[Place] = set()
    for data in kept:
        seen |= _lines(target, data)
    chosen = []
    for data in inputs:
        lines = _lines(target, data)
        if lines - seen:
            chosen.append(data)
            seen |= lines
    return chosen


def _lines(target: Target, data: bytes) -> set[Place]:
    """The lines of rundlet that one input comes to."""
    lines: set[Place] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if _OURS not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        target.check(data)
    except Exception:  # noqa: BLE001  refused or failed: it has come where it has come
        pass
    finally:
        sys.settrace(before)
    return lines
