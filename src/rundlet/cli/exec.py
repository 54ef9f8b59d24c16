import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import click

from rundlet.cli.help import examples
from rundlet.cli.select import Choice, container_filters, find_containers
from rundlet.cli.session import Session
from rundlet.cli.stream_options import read_tls, stream_options
from rundlet.cri.proto import api_pb2 as api
from rundlet.cri.stream_client import StreamTls
from rundlet.errors import Error

_WAY_OPTIONS = ("sync", "interactive", "tty", "transport")


def exec_sync(session: Session, id: str, argv: tuple[str, ...], timeout_s: int) -> int:
    """Runs it, passes both outputs on as they are, and returns the program's exit code."""
    request = api.ExecSyncRequest(container_id=id, cmd=argv, timeout=timeout_s)
    answer = session.call(session.runtime.ExecSync, request)
    sys.stdout.buffer.write(answer.stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(answer.stderr)
    sys.stderr.buffer.flush()
    return answer.exit_code


class Way(NamedTuple):
    """How a command is run: its streams, or `sync` for collected output."""

    sync: bool
    timeout_s: int
    interactive: bool
    tty: bool
    transport: str
    tls: StreamTls


def exec_stream(session: Session, id: str, argv: tuple[str, ...], way: Way) -> int:
    """Runs it with live streams; the program's exit code."""
    from rundlet.cli.stream import run_stream
    from rundlet.cri.stream_client import open_command
    from rundlet.streaming.command import Wanted

    wanted = Wanted(stdin=way.interactive, stdout=True, stderr=not way.tty, terminal=way.tty)
    request = api.ExecRequest(
        container_id=id, cmd=argv, tty=way.tty, stdin=wanted.stdin, stdout=wanted.stdout, stderr=wanted.stderr
    )
    stream = open_command(
        lambda: session.call(session.runtime.Exec, request).url, wanted, way.transport or "", way.tls
    )
    return run_stream(stream, stdin=wanted.stdin, terminal=way.tty)


def _exec_one(session: Session, id: str, argv: tuple[str, ...], way: Way) -> int:
    if way.sync or way.timeout_s:
        return exec_sync(session, id, argv, way.timeout_s)
    return exec_stream(session, id, argv, way)


def _exec_all(session: Session, ids: list[str], argv: tuple[str, ...], way: Way, *, quiet: bool) -> int:
    """In each container; the last exit code that is not 0."""
    code = 0
    for id in ids:
        if not quiet:
            print(f"{id}:", flush=True)
        code = _exec_one(session, id, argv, way) or code
    return code


def _exec_parallel(session: Session, ids: list[str], argv: tuple[str, ...], way: Way) -> int:
    """In all containers at once, their output as it comes."""
    with ThreadPoolExecutor(max_workers=len(ids)) as pool:
        codes = list(pool.map(lambda name: _exec_one(session, name, argv, way), ids))
    return next(filter(None, reversed(codes)), 0)


def _check_way(way: Way) -> None:
    from rundlet.cli.terminal import check_terminal

    if way.tty and not way.interactive:
        raise click.UsageError("--tty needs --interactive")
    if way.tty:
        check_terminal()


@click.command(
    epilog=examples(
        "rundlet exec -it 3e02 sh",
        "rundlet exec 3e02 redis-cli ping",
        "rundlet exec --sync --timeout 5 3e02 cat /proc/1/status",
        "rundlet exec --pod 5f2c hostname",
    ),
    context_settings={"allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, required=True, metavar="[CONTAINER-ID] COMMAND [ARG]...")
@click.option("-s", "--sync", is_flag=True, help="Collect the output instead of passing it on as it comes.")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", is_flag=True, help="With a terminal; ctrl-p ctrl-q leaves it.")
@click.option(
    "--timeout",
    type=click.IntRange(min=0),
    default=0,
    help="Kill it after so many seconds (0: never); its output is collected then.",
)
@click.option("-x", "--parallel", is_flag=True, help="Several containers: all at once.")
@click.option("-e", "--ignore-errors", is_flag=True, help="End with 0 whatever the command returns.")
@click.option("-q", "--quiet", is_flag=True, help="Several containers: do not print their ids.")
@stream_options
@container_filters(short=False)
@click.pass_obj
def command(session: Session, /, arguments: tuple[str, ...], timeout: int, **given: Any) -> None:
    """Run a command in a running container and end with its exit code.

    The container is named by its id, or by filter options.
    """
    tls = read_tls(given)
    flags = {name: given.pop(name) for name in ("parallel", "ignore_errors", "quiet")}
    way = Way(timeout_s=timeout, tls=tls, **{name: given.pop(name) for name in _WAY_OPTIONS})
    _check_way(way)
    choice = Choice(**given)
    ids = [container.id for container in find_containers(session, choice)] if choice.given else [arguments[0]]
    argv = arguments if choice.given else arguments[1:]
    if not ids or not argv:
        raise click.UsageError("no container matches" if not ids else "name a command to run")
    try:
        if flags["parallel"]:
            code = _exec_parallel(session, ids, argv, way)
        else:
            code = _exec_all(session, ids, argv, way, quiet=flags["quiet"] or not choice.given)
    except Error:
        if flags["ignore_errors"]:
            return
        raise
    if code and not flags["ignore_errors"]:
        raise click.exceptions.Exit(code)
