from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet rename brisk_firkin db"))
@click.argument("name", metavar="CONTAINER")
@click.argument("new_name", metavar="NAME")
@pass_machine
def command(machine: "Machine", name: str, new_name: str) -> None:
    """Give a container another name."""
    machine.containers.rename(name, new_name)
