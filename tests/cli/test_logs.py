"""Log files as runtimes write them, read as `rundlet logs` shows them."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.cli.logsince import parse_since
from rundlet.errors import InvalidArgument, NotFound
from rundlet.local.logfile import LogReader, parse_time, tail_offset

LINES = [
    b"2026-11-23T10:00:00.000000001Z stdout F one",
    b"2026-11-23T10:00:01.000000000Z stderr F oops",
    b"2026-11-23T10:00:02.500000000Z stdout P two-",
    b"2026-11-23T10:00:02.500000001Z stdout F halves",
    b"2026-11-23T12:00:03+01:00 stdout F zoned",
]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "redis.log"
    path.write_bytes(b"".join(line + b"\n" for line in LINES))
    return path


def test_all_of_it(rundlet, log):
    outcome = rundlet("logs", "c3")
    assert (outcome.stdout, outcome.stderr) == ("one\ntwo-halves\nzoned\n", "oops\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--tail", "2"], "halves\nzoned\n"),
        (["--tail", "0"], ""),
        (["--tail", "99"], "one\ntwo-halves\nzoned\n"),
        (["--stream", "stderr"], ""),
        (["--since", "2026-11-23T10:00:02Z"], "two-halves\nzoned\n"),
        (["--since", "2026-11-23T11:00:03Z"], "zoned\n"),
        (["--limit-bytes", "6", "--stream", "stdout"], "one\ntw"),
        (["--timestamps", "--tail", "1"], "2026-11-23T12:00:03+01:00 zoned\n"),
        (["--previous"], "before\n"),
    ],
)
def test_parts_of_it(rundlet, log, arguments, text):
    (log.parent / "0.log").write_bytes(b"2026-11-23T09:00:00Z stdout F before\n")
    assert rundlet("logs", *arguments, "c3").stdout == text


def test_reopen_asks_the_runtime_first(rundlet, log, shelf):
    rundlet("logs", "--reopen", "c3")
    assert [type(request).__name__ for request in shelf.requests] == ["ReopenContainerLogRequest"]


def test_follow_goes_on_over_a_rotation_until_the_container_ends(tmp_path):
    path = tmp_path / "x.log"
    path.write_bytes(b"1\n2\n")
    steps = iter(
        [lambda: None, lambda: _append(path, b"3\n4"), lambda: _append(path, b"\n"), lambda: _rotate(path)]
    )

    def ended():
        step = next(steps, None)
        if step is None:
            return True
        step()
        return False

    reader = LogReader(str(path), tail=1)
    assert list(reader.follow(ended)) == [b"2", b"3", b"4", b"last", b"new"]
    reader.close()


def _append(path, data):
    with path.open("ab") as file:
        file.write(data)


def _rotate(path):
    _append(path, b"last\n")
    path.rename(path.with_suffix(".old"))
    path.write_bytes(b"new\n")


def test_follow_through_the_command(rundlet, shelf, log):
    import rundlet.cri.proto.api_pb2 as api

    timer = threading.Timer(0.3, lambda: setattr(shelf.containers["c3" * 32], "state", api.CONTAINER_EXITED))
    timer.start()
    outcome = rundlet("logs", "--follow", "--tail", "1", "c3")
    timer.join()
    assert (outcome.code, outcome.stdout) == (0, "zoned\n")


@given(
    st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"")), max_size=20),
    st.integers(0, 25),
)
def test_tail_counts_lines_from_the_end(tmp_path_factory, lines, count):
    path = tmp_path_factory.mktemp("log") / "x"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    with path.open("rb") as file:
        offset = tail_offset(file.fileno(), count)
    kept = lines[-count:] if count else []
    assert path.read_bytes()[offset:] == b"".join(line + b"\n" for line in kept)


def test_tail_over_several_blocks(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"".join(b"%06d%s\n" % (number, b"x" * 100) for number in range(5000)))
    reader = LogReader(str(path), tail=2000)
    assert [int(line[:6]) for line in reader.read()] == list(range(3000, 5000))
    reader.close()


def test_an_unfinished_line_counts_as_one(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"1\n2\n3")
    with path.open("rb") as file:
        assert tail_offset(file.fileno(), 2) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("100", 100 * 10**9),
        ("100.25", 100 * 10**9 + 250_000_000),
        ("2s", 98 * 10**9),
        ("1m30s", 10 * 10**9),
        ("1970-01-01T00:00:05Z", 5 * 10**9),
        ("1970-01-01T00:00:05", 5 * 10**9),
        ("1970-01-02", 86400 * 10**9),
        ("1970-01-01T01:00:00.25+01:00", 250_000_000),
    ],
)
def test_since(text, expected):
    assert parse_since(text, 100 * 10**9) == expected


@pytest.mark.parametrize("text", ["yesterday", "5x", "2026-13-01", "2026-01-01T99:00:00Z"])
def test_bad_since(text):
    with pytest.raises(InvalidArgument):
        parse_since(text, 0)


@given(st.datetimes(), st.integers(0, 999_999_999))
def test_times_keep_their_nanoseconds(moment, nanoseconds):
    text = f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f".{nanoseconds:09}Z"
    assert parse_time(text) % 10**9 == nanoseconds


def test_a_missing_log():
    with pytest.raises(NotFound):
        LogReader("/nonexistent/x.log", -1)
