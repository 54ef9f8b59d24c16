"""`system`: facts, disk usage, and what can go."""

import click

from rundlet.cli.help import examples
from rundlet.cli.lazygroup import LazyGroup


class _Group(LazyGroup):
    table = {
        "info": ("local.info", "Show facts of this machine."),
        "df": ("local.diskusage", "Show how much of the disk is taken."),
        "prune": ("local.pruning", "Remove what nobody needs any more."),
    }


@click.group(cls=_Group, epilog=examples("rundlet system df", "rundlet system prune --force"))
def command() -> None:
    """This machine's facts, its disk usage, and what can go."""
