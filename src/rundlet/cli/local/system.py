"""`system`: facts, disk usage, and what can go."""

from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import local_containers, pass_machine
from rundlet.cli.local.info import command as info
from rundlet.cli.local.rows import print_rows
from rundlet.cli.table import human_size
from rundlet.errors import Error

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_COLUMNS = {
    "Type": "TYPE",
    "Total": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


@click.group(epilog=examples("rundlet system df", "rundlet system prune --force"))
def command() -> None:
    """This machine's facts, its disk usage, and what can go."""


@local_command(epilog=examples("rundlet system df"))
@click.option("--format", "template", default="", metavar="FORMAT", help="json, table …, or a Go template.")
@pass_machine
def df(machine: "Machine", template: str) -> None:
    """Show how much of the disk images, containers and volumes take."""
    rows = [_measure_images(machine), _measure_containers(machine), _measure_volumes(machine)]
    print_rows(rows, _COLUMNS, template=template, document=rows)


def _row(kind: str, sizes: dict[str, int], active: set[str]) -> dict[str, Any]:
    free = sum(size for name, size in sizes.items() if name not in active)
    return {
        "Type": kind,
        "Total": len(sizes),
        "Active": len(active & sizes.keys()),
        "Size": human_size(sum(sizes.values()), 3),
        "Reclaimable": human_size(free, 3),
    }


def _measure_images(machine: "Machine") -> dict[str, Any]:
    sizes = {record.id: record.size_bytes for record in machine.engine.images.list()}
    return _row("Images", sizes, {found.image_id for found in local_containers(machine)})


def _measure_containers(machine: "Machine") -> dict[str, Any]:
    found = local_containers(machine)
    usage = machine.engine.containers.usage
    running = {item.id for item in found if item.state in ("running", "paused")}
    return _row("Containers", {item.id: usage(item.id)[0] for item in found}, running)


def _measure_volumes(machine: "Machine") -> dict[str, Any]:
    from rundlet.local.measure import measure_tree

    volumes = machine.volumes.list()
    used = {volume.name for volume in volumes if volume.users}
    return _row("Local Volumes", {volume.name: measure_tree(volume.path) for volume in volumes}, used)


@local_command(epilog=examples("rundlet system prune", "rundlet system prune --force --all --volumes"))
@click.option(
    "-a", "--all", "every", is_flag=True, help="Every image that no container is of, not only nameless ones."
)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--volumes", is_flag=True, help="Volumes too that no container has.")
@pass_machine
def prune(machine: "Machine", every: bool, force: bool, volumes: bool) -> None:
    """Remove ended containers, networks without containers, images that nobody needs."""
    if not force:
        kinds = "containers that have ended, unused networks and images" + (" and volumes" if volumes else "")
        click.confirm(f"This removes all {kinds}. Go on?", abort=True)
    for found in local_containers(machine, ("created", "exited", "unknown")):
        _try(lambda found=found: machine.containers.remove(found.id, volumes=True), found.id)
    for name in machine.networks.prune():
        print(name)
    if volumes:
        for name in machine.volumes.prune():
            print(name)
    _prune_images(machine, every=every)


def _prune_images(machine: "Machine", *, every: bool) -> None:
    used = {found.image_id for found in local_containers(machine)}
    for record in machine.engine.images.list():
        if record.id not in used and not record.pinned and (every or not record.names):
            _try(lambda record=record: machine.engine.images.remove(record.id), record.id)


def _try(act: Any, name: str) -> None:
    """What is in use after all stays."""
    try:
        act()
    except Error:
        return
    print(name)


command.add_command(info, "info")
command.add_command(df, "df")
command.add_command(prune, "prune")
