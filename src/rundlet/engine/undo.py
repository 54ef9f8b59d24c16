"""An undo stack whose steps never hide the error that set it off."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec

from rundlet.step import step as mark

P = ParamSpec("P")

_log = logging.getLogger(__name__)


def attempt(what: str, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Run one clean-up step; a failure is logged as "cannot <what>", since the rest must still run."""
    try:
        with mark("undo", what):
            step(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other steps must run
        _log.warning("cannot %s: %s", what, error)
        return False
    return True


class Undo(ExitStack):
    """Steps that run in reverse order unless `keep` was called."""

    def add(self, what: str, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """`what` completes "cannot …" in the log."""
        self.callback(lambda: attempt(what, step, *args, **kwargs))

    def keep(self) -> None:
        """The work is done: forget the steps."""
        self.pop_all()
