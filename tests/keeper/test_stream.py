"""From a FIFO to a log: what is in it, and what is in it after a kill between any two steps."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rundlet.keeper.attach import Audience, Stdin
from rundlet.keeper.journal import Batch, Journal
from rundlet.keeper.logfile import LogFile
from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import UNLIMITED, LogLimit
from rundlet.keeper.stream import Scratch, Source, Stream
from rundlet.plan.log import LINE_MAX_BYTES, LogLine, parse_log_line


class Pipe(NamedTuple):
    """A stream with somebody who writes to it."""

    stream: Stream
    writer: int
    log: LogFile
    scratch: Scratch
    path: Path

    def lines(self) -> list[LogLine]:
        return [parse_log_line(line) for line in self.path.read_bytes().split(b"\n")[:-1]]

    def content(self) -> bytes:
        return b"".join(line.content + (b"" if line.partial else b"\n") for line in self.lines())

    def pump(self) -> None:
        while self.stream.pump():
            pass


def open_pipe(directory: Path, limit: LogLimit = UNLIMITED) -> Pipe:
    loop = Loop()
    log = LogFile()
    log.open(str(directory / "log"), limit)
    if not (directory / "stdout").exists():
        os.mkfifo(directory / "stdout")
    fd = os.open(directory / "stdout", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(directory / "stdout", os.O_RDWR)
    scratch = Scratch(str(directory / "journal"))
    audience = Audience(loop, Stdin(loop), lambda: None, lambda: None)
    stream = Stream(fd, "stdout", Source("c", str(directory), log, audience), scratch)
    return Pipe(stream, writer, log, scratch, directory / "log")


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    made = open_pipe(tmp_path)
    yield made
    made.stream.close()
    made.scratch.close()
    os.close(made.writer)


def test_whole_lines_go_and_half_ones_stay(pipe: Pipe) -> None:
    os.write(pipe.writer, b"one\ntwo\nhal")
    pipe.pump()
    assert pipe.content() == b"one\ntwo\n"
    os.write(pipe.writer, b"f\n")
    pipe.pump()
    assert pipe.content() == b"one\ntwo\nhalf\n"


def test_long_lines_come_in_pieces(pipe: Pipe) -> None:
    line = bytes(range(97, 123)) * 2000  # 52 000 bytes
    os.write(pipe.writer, line)
    pipe.pump()
    assert [(len(entry.content), entry.partial) for entry in pipe.lines()] == [(LINE_MAX_BYTES, True)] * 3
    os.write(pipe.writer, b"\nshort\n")
    pipe.pump()
    assert pipe.content() == line + b"\nshort\n"
    assert [entry.partial for entry in pipe.lines()] == [True, True, True, False, False]


def test_a_pipe_full_of_pieces_without_a_newline_is_emptied(pipe: Pipe) -> None:
    """splice(2) can use up the pages of a pipe with a few bytes: nobody would ever read on."""
    source = os.memfd_create("source")
    os.write(source, b"x" * 64)
    os.set_blocking(pipe.writer, False)
    written = 0
    try:
        while True:
            written += os.splice(source, pipe.writer, 1, offset_src=0)
    except BlockingIOError:
        pass
    os.close(source)
    assert 0 < written < 100
    pipe.pump()
    assert [(entry.partial, len(entry.content)) for entry in pipe.lines()] == [(True, written)]
    os.write(pipe.writer, b"end\n")
    pipe.pump()
    assert pipe.content() == b"x" * written + b"end\n"


def test_the_end_brings_the_last_line(pipe: Pipe) -> None:
    os.write(pipe.writer, b"one\ntail")
    pipe.stream.finish()
    assert [(entry.content, entry.partial) for entry in pipe.lines()] == [(b"one", False), (b"tail", False)]


def test_the_log_is_for_the_owner_and_the_group(pipe: Pipe) -> None:
    assert stat.S_IMODE(pipe.path.stat().st_mode) == 0o640


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.binary(max_size=200), st.integers(1, 40_000).map(lambda n: b"y" * n)), max_size=8)
)
def test_whatever_comes_is_in_the_log(tmp_path: Path, chunks: list[bytes]) -> None:
    (tmp_path / "log").unlink(missing_ok=True)
    made = open_pipe(tmp_path)
    for chunk in chunks:
        os.write(made.writer, chunk)
        made.pump()
    made.stream.finish()
    text = b"".join(chunks)
    assert made.content() == (text if not text or text.endswith(b"\n") else text + b"\n")
    made.stream.close()
    made.scratch.close()
    os.close(made.writer)


# --- a limit ------------------------------------------------------------------


def test_a_log_that_is_full_is_rotated(tmp_path: Path) -> None:
    made = open_pipe(tmp_path, LogLimit(4000, 3))
    for number in range(1000):
        os.write(made.writer, b"%06d\n" % number)
        made.pump()
    files = [tmp_path / "log.2", tmp_path / "log.1", tmp_path / "log"]
    kept = [parse_log_line(line).content for file in files for line in file.read_bytes().splitlines()]
    assert kept == [b"%06d" % number for number in range(1000 - len(kept), 1000)]
    assert all(file.stat().st_size < 4200 for file in files)
    assert not (tmp_path / "log.3").exists()


def test_a_full_disk_loses_lines_but_cuts_none() -> None:
    """/dev/full is not a regular file: a file whose size is limited plays the full disk."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os._exit(_fill_up(write_fd))
    os.close(write_fd)
    with open(read_fd, "rb") as result:
        text = result.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert text == b"first\nthird\n"


def _fill_up(write_fd: int) -> int:
    import resource
    import signal
    import tempfile

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, 30))
    with tempfile.TemporaryDirectory() as directory:
        log = LogFile()
        log.open(f"{directory}/log")
        for text in (b"first\n", b"second" * 10 + b"\n", b"third\n"):
            log.append([text], len(text), log.position()[1])
        os.write(write_fd, Path(f"{directory}/log").read_bytes())
    return 0


# --- killed between two steps -------------------------------------------------


def die(*_: object) -> None:
    os.kill(os.getpid(), 9)


def append_half(log: LogFile, parts: Sequence[bytes | memoryview], size: int, offset: int) -> None:
    os.truncate(log.path, offset)
    with open(log.path, "ab") as file:
        file.write(b"".join(parts)[: size // 2])
    die()


MOMENTS = ["before begin", "before write", "half a write", "before take", "before end", "after"]


def live_until(made: Pipe, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a child process: pump, and be killed at `moment`."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    if moment == "before begin":
        monkeypatch.setattr(Journal, "begin", die)
    elif moment == "before write":
        monkeypatch.setattr(LogFile, "append", die)
    elif moment == "half a write":
        monkeypatch.setattr(LogFile, "append", append_half)
    elif moment == "before take":
        monkeypatch.setattr(Scratch, "take", die)
    elif moment == "before end":
        monkeypatch.setattr(Journal, "end", die)
    made.pump()
    die()


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("moment", MOMENTS)
def test_no_line_is_lost_or_doubled_by_a_kill(
    pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, rotated: bool
) -> None:
    os.write(pipe.writer, b"before\n")
    pipe.pump()
    os.write(pipe.writer, b"first\nsecond\nhal")
    live_until(pipe, moment, monkeypatch)
    if rotated:  # by the kubelet, in the meantime
        (tmp_path / "log").rename(tmp_path / "log.old")
        pipe.log.reopen()
    os.write(pipe.writer, b"f\nlast\n")
    batch = Journal(str(tmp_path / "journal")).read()
    if batch is not None:
        pipe.stream.settle(batch)
    pipe.scratch.journal.end()
    pipe.pump()
    old = tmp_path / "log.old"
    content = [
        parse_log_line(line).content
        for file in (old, pipe.path)
        if file.exists()
        for line in file.read_bytes().splitlines()
    ]
    assert content == [b"before", b"first", b"second", b"half", b"last"]


def test_the_journal_keeps_a_batch(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "journal"))
    assert journal.read() is None
    batch = Batch("x" * 128, 2, 1 << 40, 2, 1 << 41, 4)
    journal.begin(batch, 0)
    again = Journal(str(tmp_path / "journal"))
    assert again.read() == batch
    journal.marker[0] = 0
    assert again.read() == batch._replace(taken=True)
    journal.end()
    assert again.read() is None
