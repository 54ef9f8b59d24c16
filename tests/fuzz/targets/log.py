"""CRI's log lines: what a container writes comes back as it was, and a file of anything is read or refused."""

from rundlet.errors import InvalidArgument
from rundlet.local.logfile import parse_time
from rundlet.plan.log import LINE_MAX_BYTES, format_lines, format_rest, parse_log_line
from tests.fuzz.mutation import of_words

SEEDS = (
    b"2026-11-23T14:45:00.123456789Z stdout F the line\n2026-11-23T14:45:00.123456789+02:00 stderr P part\n",
    b"one\ntwo\n" + b"x" * (LINE_MAX_BYTES + 3) + b"\n\n",
    b"2026-11-23T14:45:00Z stdout F:tag \n",
)
MUTATE = of_words(
    "stdout stderr F P F:x Z +00:00 -23:59 0001-01-01 9999-12-31T23:59:59.999999999Z 24:00:00 \r"
)


def check(data: bytes) -> None:
    _check_round_trip(data)
    for line in data.split(b"\n"):
        _check_line(line)


def _check_round_trip(data: bytes) -> None:
    parts, used = format_lines("stdout", data, 1_700_000_000_123_456_789)
    rest = data[used:]
    assert len(rest) <= LINE_MAX_BYTES
    assert b"\n" not in rest
    text = b"".join(map(bytes, parts)) + (format_rest("stdout", rest, 0, partial=True) if rest else b"")
    lines = [parse_log_line(line) for line in text.split(b"\n")[:-1]]
    assert all(len(line.content) <= LINE_MAX_BYTES for line in lines)
    assert b"".join(line.content + b"\n" * (not line.partial) for line in lines) == data


def _check_line(line: bytes) -> None:
    try:
        parsed = parse_log_line(line)
        parse_time(parsed.timestamp)
    except InvalidArgument as error:
        assert error.message.isprintable()
        return
    assert isinstance(parsed.content, bytes)
