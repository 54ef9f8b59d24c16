from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import FAILED, local_command
from rundlet.cli.local.context import choose, forgiving, pass_machine
from rundlet.cli.local.selecting import selecting
from rundlet.cli.report import report
from rundlet.errors import Error, FailedPrecondition, NotFound

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_MISSING, _RUNNING = 1, 2


@local_command(epilog=examples("rundlet rm db", "rundlet rm -f db web", "rundlet rm --all"))
@selecting(short_filter=False)
@click.option(
    "-f", "--force", is_flag=True, help="Also those that run, and do not mind those that are not there."
)
@click.option("-i", "--ignore", is_flag=True, help="Do not mind containers that are not there.")
@click.option("-v", "--volumes", is_flag=True, help="Their anonymous volumes too.")
@click.option(
    "-t",
    "--time",
    "patience_s",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="With --force: stop it first.",
)
@pass_machine
def command(
    machine: "Machine", force: bool, ignore: bool, volumes: bool, patience_s: int | None, **chosen: Any
) -> None:
    """Remove containers.

    Ends with 1 when one is not there, 2 when one runs.
    """

    def remove(name: str) -> None:
        if force and patience_s is not None:
            machine.containers.stop(name, patience_s)
        machine.containers.remove(name, force=force, volumes=volumes)

    names = choose(machine, **chosen)
    code = 0
    for name in names:
        code = _attempt(forgiving(remove, ignore=ignore or force), name) or code
    if code:
        raise click.exceptions.Exit(code)


def _attempt(act: Callable[[str], Any], name: str) -> int:
    """The exit code."""
    try:
        act(name)
    except Error as error:
        report(error)
        return {NotFound: _MISSING, FailedPrecondition: _RUNNING}.get(type(error), FAILED)
    print(name, flush=True)
    return 0
