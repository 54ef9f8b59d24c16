from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.flags import declare
from rundlet.cli.local.runflags import read_limits
from rundlet.cli.local.runtable import LIMITS
from rundlet.engine.options import Resources
from rundlet.errors import InvalidArgument

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet update --memory 512m --cpus 1.5 db"))
@click.argument("name", metavar="CONTAINER")
@declare(LIMITS)
@pass_machine
def command(machine: "Machine", name: str, **given: Any) -> None:
    """Change the limits of a container; those that are not mentioned stay."""
    wanted = read_limits(given)
    if wanted == Resources():
        raise InvalidArgument("no limit is given", hint="as --memory 512m or --cpus 1.5")
    machine.containers.update(name, wanted)
    print(name)
