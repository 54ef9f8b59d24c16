"""The CRI log grammar: what is written is what is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import InvalidArgument
from rundlet.plan.log import LINE_MAX_BYTES, format_lines, format_rest, format_timestamp, parse_log_line

STREAMS = st.sampled_from(["stdout", "stderr"])


def tell(stream: str, data: bytes) -> tuple[bytes, int]:
    """The log text, whole, and how much of `data` it tells of."""
    parts, used = format_lines(stream, data, 1)
    return b"".join(parts), used


def join(text: bytes) -> bytes:
    """The output that a log tells of."""
    lines = [parse_log_line(line) for line in text.split(b"\n")[:-1]]
    return b"".join(line.content + (b"" if line.partial else b"\n") for line in lines)


def test_timestamps_have_nanoseconds() -> None:
    assert format_timestamp(0) == b"1970-01-01T00:00:00.000000000Z"
    assert format_timestamp(1_700_000_000_000_000_042) == b"2023-11-14T22:13:20.000000042Z"


@given(
    STREAMS,
    st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.binary(max_size=20),
)
def test_complete_lines_are_told_and_the_rest_is_kept(stream: str, lines: list[bytes], rest: bytes) -> None:
    rest = rest.replace(b"\n", b"")
    whole = b"".join(line + b"\n" for line in lines)
    text, used = tell(stream, whole + rest)
    assert used == len(whole)
    assert join(text) == whole
    assert all(parse_log_line(line).stream == stream for line in text.split(b"\n")[:-1])


@pytest.mark.parametrize(
    "length",
    [LINE_MAX_BYTES - 1, LINE_MAX_BYTES, LINE_MAX_BYTES + 1, 3 * LINE_MAX_BYTES, 3 * LINE_MAX_BYTES + 5],
)
def test_long_lines_come_in_pieces(length: int) -> None:
    data = b"short\n" + b"x" * length + b"\nafter\n"
    text, used = tell("stdout", data)
    assert used == len(data)
    assert join(text) == data
    pieces = [parse_log_line(line) for line in text.split(b"\n")[:-1]]
    assert max(len(piece.content) for piece in pieces) <= LINE_MAX_BYTES
    assert [piece.partial for piece in pieces[1:-1]] == [True] * (len(pieces) - 3) + [False]


def test_a_long_line_that_has_not_ended_is_told_in_pieces() -> None:
    data = b"y" * (2 * LINE_MAX_BYTES + 7)
    text, used = tell("stdout", data)
    assert used == 2 * LINE_MAX_BYTES
    assert join(text) == data[:used]


@pytest.mark.parametrize("partial", [True, False])
def test_the_rest_of_a_stream(partial: bool) -> None:
    line = parse_log_line(format_rest("stderr", b"tail", 1, partial=partial).rstrip(b"\n"))
    assert (line.stream, line.partial, line.content) == ("stderr", partial, b"tail")


@pytest.mark.parametrize(
    "raw", [b"", b"x", b"2023 stdout F", b"2023 stdin F x", b"2023 stdout X x", b"\xff stdout F x"]
)
def test_other_lines_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse_log_line(raw)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_line_or_refused(raw: bytes) -> None:
    try:
        line = parse_log_line(raw)
    except InvalidArgument:
        return
    assert line.stream in {"stdout", "stderr"}
