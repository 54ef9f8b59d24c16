from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import choose, each, forgiving, pass_machine
from rundlet.cli.local.selecting import selecting

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet stop db", "rundlet stop -t 2 db web", "rundlet stop --all"))
@selecting()
@click.option("-i", "--ignore", is_flag=True, help="Do not mind containers that are not there.")
@click.option(
    "-t",
    "--time",
    "patience_s",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Then it is killed (10).",
)
@pass_machine
def command(machine: "Machine", ignore: bool, patience_s: int | None, **chosen: Any) -> None:
    """Stop containers: the stop signal, some patience, SIGKILL."""
    each(
        choose(machine, states=("running", "paused"), **chosen),
        forgiving(lambda name: machine.containers.stop(name, patience_s), ignore=ignore),
    )
