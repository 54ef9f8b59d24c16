"""`system df`: what images, containers and volumes take, summed up or one by one."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import local_containers, pass_machine
from rundlet.cli.local.psview import describe_row
from rundlet.cli.local.rows import print_rows
from rundlet.cli.table import human_age, human_size
from rundlet.errors import InvalidArgument

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_NONE = "<none>"
_ID_DIGITS = 12
_COLUMNS = {
    "Type": "TYPE",
    "Total": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}
_IMAGE_COLUMNS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ImageID": "IMAGE ID",
    "Created": "CREATED",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}
_CONTAINER_COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "LocalVolumes": "LOCAL VOLUMES",
    "OwnSize": "SIZE",
    "Created": "CREATED",
    "Status": "STATUS",
    "Names": "NAMES",
}
_VOLUME_COLUMNS = {"VolumeName": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}


@local_command(epilog=examples("rundlet system df", "rundlet system df --verbose"))
@click.option("--format", "template", default="", metavar="FORMAT", help="json, table …, or a Go template.")
@click.option("-v", "--verbose", is_flag=True, help="Each image, container and volume.")
@pass_machine
def command(machine: "Machine", template: str, verbose: bool) -> None:
    """Show how much of the disk images, containers and volumes take."""
    if verbose and template:
        raise InvalidArgument("--format and --verbose exclude each other")
    if verbose:
        _print_each(machine)
        return
    rows = [_sum_images(machine), _sum_containers(machine), _sum_volumes(machine)]
    print_rows(rows, _COLUMNS, template=template, document=rows)


def _row(kind: str, sizes: Mapping[str, int], active: set[str]) -> dict[str, Any]:
    whole = sum(sizes.values())
    free = sum(size for name, size in sizes.items() if name not in active)
    return {
        "Type": kind,
        "Total": len(sizes),
        "Active": len(active & sizes.keys()),
        "Size": human_size(whole, 4),
        "Reclaimable": f"{human_size(free, 4)} ({100 * free // max(whole, 1)}%)",
    }


def _sum_images(machine: "Machine") -> dict[str, Any]:
    sizes = {record.id: record.size_bytes for record in machine.engine.images.list()}
    return _row("Images", sizes, {found.image_id for found in local_containers(machine)})


def _sum_containers(machine: "Machine") -> dict[str, Any]:
    found = local_containers(machine)
    usage = machine.engine.containers.usage
    running = {item.id for item in found if item.state in ("running", "paused")}
    return _row("Containers", {item.id: usage(item.id)[0] for item in found}, running)


def _sum_volumes(machine: "Machine") -> dict[str, Any]:
    used = {volume.name for volume in machine.volumes.list() if volume.users}
    return _row("Local Volumes", _measure_volumes(machine), used)


def _measure_volumes(machine: "Machine") -> dict[str, int]:
    from rundlet.local.measure import measure_tree

    return {volume.name: measure_tree(volume.path) for volume in machine.volumes.list()}


def _print_each(machine: "Machine") -> None:
    for kind, rows, columns in (
        ("Images", _list_images(machine), _IMAGE_COLUMNS),
        ("Containers", _list_containers(machine), _CONTAINER_COLUMNS),
        ("Local Volumes", _list_volumes(machine), _VOLUME_COLUMNS),
    ):
        print(f"{kind} space usage:\n")
        print_rows(rows, columns)
        print()


def _list_images(machine: "Machine") -> list[dict[str, Any]]:
    """What an image shares are layers that another image has, too."""
    images = machine.engine.images.list()
    sizes = machine.engine.images.layer_sizes()
    owners = Counter(layer for record in images for layer in set(record.layers))
    users = Counter(found.image_id for found in local_containers(machine))
    rows = []
    for record in images:
        shared = sum(sizes.get(layer, 0) for layer in set(record.layers) if owners[layer] > 1)
        for name in record.names or ("",):
            repository, _, tag = name.rpartition(":")
            rows.append(
                {
                    "Repository": repository or _NONE,
                    "Tag": tag or _NONE,
                    "ImageID": record.id.removeprefix("sha256:")[:_ID_DIGITS],
                    "Created": human_age(record.created_at_ns) if record.created_at_ns else "N/A",
                    "Size": human_size(record.size_bytes, 4),
                    "SharedSize": human_size(shared, 4),
                    "UniqueSize": human_size(max(record.size_bytes - shared, 0), 4),
                    "Containers": users[record.id],
                }
            )
    return rows


def _list_containers(machine: "Machine") -> list[dict[str, Any]]:
    rows = []
    for found in local_containers(machine):
        mounts = found.asked.mounts if found.asked else ()
        rows.append(
            describe_row(found, full=False)
            | {
                "LocalVolumes": sum(mount.kind == "volume" for mount in mounts),
                "OwnSize": human_size(machine.engine.containers.usage(found.id)[0], 4),
            }
        )
    return rows


def _list_volumes(machine: "Machine") -> list[dict[str, Any]]:
    sizes = _measure_volumes(machine)
    return [
        {
            "VolumeName": volume.name,
            "Links": len(volume.users),
            "Size": human_size(sizes.get(volume.name, 0), 4),
        }
        for volume in machine.volumes.list()
    ]
