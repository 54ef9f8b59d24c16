"""Ctrl-C while modules are imported, when nothing has been made yet.

A KeyboardInterrupt may come anywhere, and the import machinery swallows one that comes in a weak
reference's callback: then the command would go on as if nobody had asked it to stop.  Until there
is something to undo, to die at once is both right and sure.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


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
