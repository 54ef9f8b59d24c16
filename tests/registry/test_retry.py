import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import Cancelled, DeadlineExceeded
from rundlet.registry.retry import Clock, Limits, backoff_delay_s, parse_retry_after

NOW_S = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("text", "delay_s"),
    [
        ("", 0),
        ("0", 0),
        ("120", 120),
        ("-5", 0),
        ("1.5", 0),
        ("٣", 0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0),
        ("tomorrow", 0),
    ],
)
def test_retry_after(text, delay_s):
    assert parse_retry_after(text, NOW_S) == delay_s


@given(text=st.text() | st.text("0123456789 :,+-GMTueNov"))
def test_any_retry_after_is_a_wait(text):
    assert parse_retry_after(text, NOW_S) >= 0


@given(attempt=st.integers(0, 30), jitter=st.floats(0, 1), retry_after_s=st.floats(0, 60))
def test_waits_grow_within_bounds(attempt, jitter, retry_after_s):
    delay_s = backoff_delay_s(attempt, retry_after_s, Clock(jitter=lambda: jitter))
    assert retry_after_s <= delay_s <= max(8, retry_after_s)
    assert delay_s >= min(0.125 * 2**attempt, 4)


def test_a_real_wait_ends_when_it_is_cancelled():
    cancel = threading.Event()
    limits = Limits(Clock(), cancel=cancel)
    threading.Timer(0.02, cancel.set).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled, match="^x: "):
        limits.wait(30, "x")
    assert time.monotonic() - begun < 10


def test_a_real_wait_ends_by_itself():
    Limits(Clock()).wait(0.001, "x")


def test_no_wait_reaches_beyond_the_deadline():
    clock = Clock()
    limits = Limits(clock, clock.now_ns() + 10_000_000_000)
    assert 0 < limits.left_s() <= 10
    with pytest.raises(DeadlineExceeded, match="because"):
        limits.wait(11, "x", ValueError("because"))
