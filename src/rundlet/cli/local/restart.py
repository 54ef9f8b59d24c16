from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import choose, each, pass_machine
from rundlet.cli.local.selecting import selecting

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet restart db", "rundlet restart -t 0 --all"))
@selecting()
@click.option("--running", is_flag=True, help="With --all: only those that run.")
@click.option(
    "-t",
    "--time",
    "patience_s",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Then it is killed (10).",
)
@pass_machine
def command(machine: "Machine", running: bool, patience_s: int | None, **chosen: Any) -> None:
    """Stop containers and start them again."""
    chosen["every"] = chosen["every"] or running
    names = choose(machine, states=("running",) if running else (), **chosen)
    each(names, lambda name: machine.containers.restart(name, patience_s))
