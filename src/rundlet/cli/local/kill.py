from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import choose, each, pass_machine
from rundlet.cli.local.selecting import selecting
from rundlet.engine.signals import parse_signal

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet kill db", "rundlet kill --signal HUP web"))
@selecting()
@click.option("-s", "--signal", "signal_name", default="KILL", metavar="SIGNAL", help="KILL unless given.")
@pass_machine
def command(machine: "Machine", signal_name: str, **chosen: Any) -> None:
    """Send containers a signal."""
    parse_signal(signal_name, "--signal")
    each(
        choose(machine, states=("running", "paused"), **chosen),
        lambda name: machine.containers.kill(name, signal_name),
    )
