import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import BinaryIO, NamedTuple

import click

from rundlet.cli.help import examples
from rundlet.cli.logsince import parse_since
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.local.logfile import LogReader, parse_time
from rundlet.plan.log import LogLine, parse_log_line

STATUS_POLL_S = 1.0


class View(NamedTuple):
    """What of a log is shown; a limit below 0 is none."""

    since_ns: int = 0
    stream: str = ""
    timestamps: bool = False
    limit_bytes: int = -1


def _wanted(line: LogLine, view: View) -> bool:
    return (not view.stream or line.stream == view.stream) and (
        not view.since_ns or parse_time(line.timestamp) >= view.since_ns
    )


def render(line: LogLine, view: View) -> bytes:
    """The content, joined with what follows when the line is partial."""
    stamp = line.timestamp.encode() + b" " if view.timestamps else b""
    return stamp + line.content + (b"" if line.partial else b"\n")


def write_lines(lines: Iterable[bytes], view: View, outputs: dict[str, BinaryIO]) -> None:
    """Each line to its own stream, up to the view's limit of bytes.

    Raises InvalidArgument for a line that is not of the CRI format.
    """
    left = view.limit_bytes
    for raw in lines:
        line = parse_log_line(raw)
        if not _wanted(line, view):
            continue
        text = render(line, view)
        text = text if left < 0 else text[:left]
        outputs[line.stream].write(text)
        outputs[line.stream].flush()
        left = left if left < 0 else left - len(text)
        if left == 0:
            return


def previous_path(status: api.ContainerStatus) -> str:
    """The log of the attempt before: kubelets call logs ATTEMPT.log."""
    if status.metadata.attempt == 0:
        raise NotFound(f"container {status.metadata.name} has no previous instance")
    folder, name = os.path.split(status.log_path)
    return os.path.join(folder, f"{status.metadata.attempt - 1}{os.path.splitext(name)[1]}")


def container_status(session: Session, id: str) -> api.ContainerStatus:
    return session.call(session.runtime.ContainerStatus, api.ContainerStatusRequest(container_id=id)).status


def make_ended(session: Session, id: str) -> Callable[[], bool]:
    """Whether the container has stopped or gone, asked at most once a second."""
    next_time, ended = 0.0, False

    def check() -> bool:
        nonlocal next_time, ended
        if not ended and time.monotonic() >= next_time:
            next_time = time.monotonic() + STATUS_POLL_S
            try:
                ended = container_status(session, id).state in (api.CONTAINER_EXITED, api.CONTAINER_UNKNOWN)
            except NotFound:
                ended = True
        return ended

    return check


@click.command(
    epilog=examples(
        "rundlet logs 3e02",
        "rundlet logs --follow --tail 10 3e02",
        "rundlet logs --since 5m --timestamps 3e02",
    )
)
@click.argument("id", metavar="CONTAINER-ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends.")
@click.option("-p", "--previous", is_flag=True, help="The log of the attempt before this one.")
@click.option("-r", "--reopen", is_flag=True, help="Have the runtime reopen the log first (after rotation).")
@click.option("--tail", type=int, default=-1, help="Only so many lines from the end.")
@click.option("--limit-bytes", type=int, default=-1, help="Only so many bytes.")
@click.option("--since", default="", help="Since a time (2026-01-31T13:00:00Z) or for a time (42m).")
@click.option("-t", "--timestamps", is_flag=True, help="Show timestamps.")
@click.option(
    "-s", "--stream", type=click.Choice(["stdout", "stderr"]), default=None, help="Only this stream."
)
@click.pass_obj
def command(
    session: Session,
    id: str,
    tail: int,
    limit_bytes: int,
    since: str,
    stream: str | None,
    *,
    follow: bool,
    previous: bool,
    reopen: bool,
    timestamps: bool,
) -> None:
    """Show the log of a container, read from the file that the runtime names."""
    if tail >= 0 and stream:
        raise InvalidArgument(
            "--tail and --stream exclude each other", hint="--tail counts lines of both streams"
        )
    view = View(parse_since(since, time.time_ns()), stream or "", timestamps, limit_bytes)
    if reopen:
        session.call(session.runtime.ReopenContainerLog, api.ReopenContainerLogRequest(container_id=id))
    status = container_status(session, id)
    if not status.log_path:
        raise FailedPrecondition(f"container {id} has no log", hint="log_directory and log_path were not set")
    outputs: dict[str, BinaryIO] = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    with closing(LogReader(previous_path(status) if previous else status.log_path, tail)) as reader:
        lines = reader.follow(make_ended(session, status.id)) if follow else reader.read()
        write_lines(lines, view, outputs)
