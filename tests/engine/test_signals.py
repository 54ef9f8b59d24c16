import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.engine.signals import format_signal, parse_signal
from rundlet.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", signal.SIGTERM),
        ("term", signal.SIGTERM),
        ("9", 9),
        ("SIGRTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("SIGRTMAX", 64),
    ],
)
def test_parse(text, number):
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIGNOTHING", "SIGRTMIN+40", "RTMAX+1", "SIG_IGN", "²"])
def test_no_such_signal(text):
    with pytest.raises(InvalidArgument):
        parse_signal(text)


@given(st.integers(1, 64))
def test_names_come_back(number):
    assert parse_signal(format_signal(number)) == number
