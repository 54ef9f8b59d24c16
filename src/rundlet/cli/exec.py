import sys

import click

from rundlet.cli.help import examples
from rundlet.cli.select import Choice, container_filters, find_containers
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import Error, Unimplemented


def exec_sync(session: Session, id: str, argv: tuple[str, ...], timeout_s: int) -> int:
    """Runs it, passes both outputs on as they are, and returns the program's exit code."""
    request = api.ExecSyncRequest(container_id=id, cmd=argv, timeout=timeout_s)
    answer = session.call(session.runtime.ExecSync, request)
    sys.stdout.buffer.write(answer.stdout)
    sys.stdout.buffer.flush()
    sys.stderr.buffer.write(answer.stderr)
    sys.stderr.buffer.flush()
    return answer.exit_code


def _refuse_streams(*, interactive: bool, tty: bool) -> None:
    asked = [name for name, given in (("--interactive", interactive), ("--tty", tty)) if given]
    if asked:
        raise Unimplemented(
            f"exec with {' and '.join(asked)} needs CRI streaming, which this client lacks so far",
            hint="without them the command runs with its output collected: rundlet exec CONTAINER-ID COMMAND",
        )


def _exec_all(session: Session, ids: list[str], argv: tuple[str, ...], timeout_s: int, *, quiet: bool) -> int:
    """In each container; the last exit code that is not 0."""
    code = 0
    for id in ids:
        if not quiet:
            print(f"{id}:", flush=True)
        code = exec_sync(session, id, argv, timeout_s) or code
    return code


@click.command(
    epilog=examples(
        "rundlet exec 3e02 redis-cli ping",
        "rundlet exec --sync --timeout 5 3e02 cat /proc/1/status",
        "rundlet exec --pod 5f2c hostname",
    ),
    context_settings={"allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, required=True, metavar="[CONTAINER-ID] COMMAND [ARG]...")
@click.option("-s", "--sync", is_flag=True, help="Collect the output (so it is without -i and -t anyway).")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", is_flag=True, help="With a terminal.")
@click.option(
    "--timeout", type=click.IntRange(min=0), default=0, help="Kill it after so many seconds (0: never)."
)
@click.option("-e", "--ignore-errors", is_flag=True, help="End with 0 whatever the command returns.")
@click.option("-q", "--quiet", is_flag=True, help="Several containers: do not print their ids.")
@container_filters(short=False)
@click.pass_obj
def command(
    session: Session,
    /,
    arguments: tuple[str, ...],
    timeout: int,
    *,
    sync: bool,
    interactive: bool,
    tty: bool,
    ignore_errors: bool,
    quiet: bool,
    **filters: str,
) -> None:
    """Run a command in a running container and end with its exit code.

    The container is named by its id, or by filter options.
    """
    if not sync:
        _refuse_streams(interactive=interactive, tty=tty)
    choice = Choice(**filters)  # type: ignore[arg-type]  # click passes one option a field
    ids = [container.id for container in find_containers(session, choice)] if choice.given else [arguments[0]]
    argv = arguments if choice.given else arguments[1:]
    if not ids or not argv:
        raise click.UsageError("no container matches" if not ids else "name a command to run")
    try:
        code = _exec_all(session, ids, argv, timeout, quiet=quiet or not choice.given)
    except Error:
        if ignore_errors:
            return
        raise
    if code and not ignore_errors:
        raise click.exceptions.Exit(code)
