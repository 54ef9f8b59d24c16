from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import one_name, pass_machine
from rundlet.cli.local.rows import print_json
from rundlet.image.differences import compare_stacks

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

# Where the runtime mounts something: empty files under it are no work of the container.
_MADE_FOR_IT = frozenset({"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/dev", "/proc", "/sys"})
_WORDS = {"A": "added", "C": "changed", "D": "deleted"}


@local_command(epilog=examples("rundlet diff db", "rundlet diff --format json db"))
@click.argument("names", nargs=-1, metavar="CONTAINER")
@click.option("--format", "form", type=click.Choice(["json"]), default=None, help="json.")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@pass_machine
def command(machine: "Machine", names: tuple[str, ...], form: str | None, latest: bool) -> None:
    """Show what a container has added (A), changed (C) and deleted (D) in its image's files."""
    container_id = machine.containers.get(one_name(machine, names, latest=latest)).id
    snapshot = machine.engine.containers.snapshot(container_id)
    changes = [
        change
        for change in compare_stacks(snapshot.lower, (snapshot.upper, *snapshot.lower))
        if change.path not in _MADE_FOR_IT
    ]
    if form == "json":
        print_json(
            {
                word: [change.path for change in changes if change.kind == kind]
                for kind, word in _WORDS.items()
            }
        )
        return
    print("".join(f"{change.kind} {change.path}\n" for change in changes), end="")
