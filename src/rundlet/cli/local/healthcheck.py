"""`rundlet healthcheck`: a container's check, run when somebody asks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import exit_with, local_command
from rundlet.cli.local.context import one_name, pass_machine

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_FAILED_CHECK = 1


@click.group(epilog=examples("rundlet healthcheck run db"))
def command() -> None:
    """Checks of containers' health."""


@local_command(epilog=examples("rundlet healthcheck run db && echo well"))
@click.argument("names", nargs=-1, metavar="CONTAINER")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@pass_machine
def run(machine: "Machine", names: Sequence[str], latest: bool) -> None:
    """Run a container's health check now.

    Ends with 0 when it succeeds; with 1 when it fails, and prints `unhealthy`, or `starting` in the
    start period; with 125 where there is no check to run.
    """
    health = machine.check_health(one_name(machine, names, latest=latest))
    if health.probes[-1].exit_code:
        print("starting" if health.status == "starting" and not health.failing_streak else "unhealthy")
        exit_with(_FAILED_CHECK)


command.add_command(run, "run")
