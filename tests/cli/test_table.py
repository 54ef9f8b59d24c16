import pytest

from rundlet.cli.table import format_table, human_duration, human_size, long_time, rfc3339_time, short_id


def test_columns_are_twenty_wide_and_the_last_is_not_padded():
    assert format_table([["A", "B"], ["x" * 18, "y"]]) == "A".ljust(21) + "B\n" + "x" * 18 + "   y\n"
    assert format_table([["A", "B"]]) == "A".ljust(20) + "B\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (5400, "2 hours"),
        (47 * 3600, "47 hours"),
        (3 * 86400, "3 days"),
        (15 * 86400, "2 weeks"),
        (90 * 86400, "3 months"),
        (900 * 86400, "2 years"),
    ],
)
def test_durations(seconds, text):
    assert human_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "digits", "text"), [(0, 4, "0B"), (999, 4, "999B"), (12345678, 3, "12.3MB"), (1500, 4, "1.5kB")]
)
def test_sizes(size, digits, text):
    assert human_size(size, digits) == text


def test_times():
    assert long_time(1481731144373680832) == "2016-12-14 15:59:04.373680832 +0000 UTC"
    assert rfc3339_time(1481731144500000000) == "2016-12-14T15:59:04.5Z"
    assert rfc3339_time(0) == "0001-01-01T00:00:00Z"


def test_ids():
    assert short_id("sha256:" + "a" * 64) == "a" * 13
