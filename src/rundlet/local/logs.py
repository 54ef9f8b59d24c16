"""What a container has written, line by line."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Literal, NamedTuple

from rundlet.errors import NotFound
from rundlet.local.logfile import LogReader, parse_time
from rundlet.plan.log import parse_log_line


class LogEntry(NamedTuple):
    """A line, or with `partial` the beginning of one that goes on in the next entry of its stream."""

    time_ns: int
    stream: Literal["stdout", "stderr"]
    content: bytes
    partial: bool = False

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


def read_log(
    path: str,
    has_ended: Callable[[], bool],
    *,
    follow: bool = False,
    tail: int = -1,
    since_ns: int = 0,
    until_ns: int = 0,
) -> Iterator[LogEntry]:
    """The entries of the log at `path`; with `follow` further ones as they come, until `has_ended` says so.

    `tail` lines from the end (-1: all).  Raises NotFound where nothing was logged.
    """
    if not path:
        raise NotFound("the container keeps no log", hint="it was made with the log driver none")
    with closing(LogReader(path, tail)) as reader:
        for line in reader.follow(has_ended) if follow else reader.read():
            parsed = parse_log_line(line)
            time_ns = parse_time(parsed.timestamp)
            if until_ns and time_ns > until_ns:
                return
            if time_ns >= since_ns:
                yield LogEntry(time_ns, parsed.stream, parsed.content, parsed.partial)  # type: ignore[arg-type]
