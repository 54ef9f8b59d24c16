"""Signals that end this program.

While modules are imported and nothing has been made yet, ctrl-c ends it at once: a KeyboardInterrupt
may come anywhere, and the import machinery swallows one that comes in a weak reference's callback:
then the command would go on as if nobody had asked it to stop.

While something is made or taken back, signals wait: in the middle of a call to the keeper there
would be nothing to undo it with.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 2  # the second ctrl-c is taken at its word


class Interrupted(KeyboardInterrupt):
    """Told to end by the signal `number`; whoever made something takes it back on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def exit_code_of(error: BaseException | None) -> int:
    """128 + N, as a shell calls a program that signal N has ended."""
    return 128 + (error.number if isinstance(error, Interrupted) else signal.SIGINT)


@contextmanager
def dying_at_once() -> Iterator[None]:
    """SIGINT ends the process within; one that is ignored, or handled by somebody, stays so."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def holding_signals(*, patience: int = _PATIENCE) -> Iterator[list[int]]:
    """The signals that came, which do nothing; `patience`: that many of them raise Interrupted at once (0: never)."""
    came: list[int] = []

    def note(number: int, frame: "FrameType | None") -> None:  # noqa: ARG001
        came.append(number)
        if len(came) == patience:
            raise Interrupted(came[0])

    before = {number: signal.signal(number, note) for number in _HELD}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """A signal becomes Interrupted at the end of the block, so that what the block makes is undone by whoever catches that."""
    with holding_signals() as came:
        yield
    if came:
        raise Interrupted(came[0])
