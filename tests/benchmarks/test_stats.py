"""Medians, percentiles and exponents, held against values that can be worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import fit_exponent, is_steep, last_exponent, median, p95

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=40)


def test_the_95th_percentile_lies_between_the_two_nearest_values() -> None:
    assert p95([7.0]) == 7.0
    assert p95(list(range(101))) == 95
    assert p95([0.0, 100.0]) == pytest.approx(95.0)


@given(VALUES)
def test_the_percentile_is_between_median_and_largest(values: list[float]) -> None:
    assert median(values) <= p95(values) * (1 + 1e-12)
    assert p95(values) <= max(values) * (1 + 1e-12)


@given(st.floats(-1, 3), st.floats(0.01, 100))
def test_the_exponent_of_a_power_is_found(exponent: float, factor: float) -> None:
    points = {size: factor * size**exponent for size in (10, 100, 500)}
    assert fit_exponent(points) == pytest.approx(exponent, abs=1e-6)
    assert last_exponent(points) == pytest.approx(exponent, abs=1e-6)


def test_one_size_has_no_exponent() -> None:
    assert fit_exponent({10: 1.0}) is None
    assert fit_exponent({}) is None
    assert not is_steep({10: 1.0})


def test_what_only_grows_at_the_end_is_steep() -> None:
    assert not is_steep({10: 1.0, 100: 10.0, 1000: 100.0})
    assert is_steep({10: 50.0, 100: 50.0, 1000: 5000.0})
