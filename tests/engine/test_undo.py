import logging

import pytest

from rundlet.engine.undo import Undo
from rundlet.errors import Unavailable


def fail() -> None:
    raise Unavailable("the disk is away")


def test_steps_run_in_reverse_and_never_hide_the_error(caplog):
    done: list[str] = []

    def work() -> None:
        with Undo() as undo:
            undo.add("do the first", done.append, "first")
            undo.add("do the second", fail)
            undo.add("do the third", done.append, "third")
            raise KeyError("the reason")

    with caplog.at_level(logging.WARNING), pytest.raises(KeyError):
        work()
    assert done == ["third", "first"]
    assert "cannot do the second: the disk is away" in caplog.text


def test_keep_forgets_the_steps():
    done: list[str] = []
    with Undo() as undo:
        undo.add("do it", done.append, "it")
        undo.keep()
    assert not done
