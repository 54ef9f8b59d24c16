from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.hostfacts import describe_machine
from rundlet.cli.local.rows import print_json

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet info", "rundlet info --format '{{.store.graphRoot}}'"))
@click.option("-f", "--format", "template", default="json", metavar="FORMAT", help="json, or a Go template.")
@pass_machine
def command(machine: "Machine", template: str) -> None:
    """Show facts of this machine: host, store, how many containers and images."""
    document = describe_machine(machine)
    if template == "json":
        print_json(document)
        return
    from rundlet.cli.gotemplate import render_template

    print(render_template(template, document))
