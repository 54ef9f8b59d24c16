import os
import sys
from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet export -o db.tar db", "rundlet export db | tar -t"))
@click.argument("name", metavar="CONTAINER")
@click.option("-o", "--output", default="", metavar="FILE", help="Write there; stdout without it.")
@pass_machine
def command(machine: "Machine", name: str, output: str) -> None:
    """Write a container's files as a tar, its image's with its own."""
    from rundlet.local.export import export_files

    snapshot = machine.engine.containers.snapshot(machine.containers.get(name).id)
    if not output:
        if sys.stdout.isatty():
            raise InvalidArgument(
                "a tar is nothing for a terminal", hint="give --output FILE, or redirect it"
            )
        export_files(snapshot, sys.stdout.buffer)
        return
    with translating(f"write {output}"):
        try:
            with open(output, "wb") as file:
                export_files(snapshot, file)
        except BaseException:
            os.unlink(output)
            raise
