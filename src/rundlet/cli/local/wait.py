from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import choose, pass_machine
from rundlet.local.words.numbers import suggest

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_CONDITIONS = ("stopped", "exited")


@local_command(epilog=examples("rundlet wait db", "rundlet wait db web"))
@click.argument("names", nargs=-1, metavar="CONTAINER...")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@click.option("--condition", default="stopped", metavar="STATE", help="stopped or exited: when it has ended.")
@click.option("-i", "--interval", default="", hidden=True, help="Nothing is polled here.")
@pass_machine
def command(machine: "Machine", condition: str, interval: str, **chosen: Any) -> None:  # noqa: ARG001
    """Wait for containers to end, and print their exit codes."""
    if condition not in _CONDITIONS:
        raise click.UsageError(f"--condition {condition}: {suggest(condition, _CONDITIONS)}")
    for name in choose(machine, **chosen):
        print(machine.containers.wait(name), flush=True)
