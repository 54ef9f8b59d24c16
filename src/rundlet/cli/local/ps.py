import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.filters import make_filter
from rundlet.cli.local.psnamespaces import COLUMNS as NAMESPACE_COLUMNS
from rundlet.cli.local.psnamespaces import describe_namespaces, read_namespaces
from rundlet.cli.local.psview import COLUMNS, POD_COLUMNS, SIZE_COLUMNS, describe_document, describe_row
from rundlet.cli.local.rows import print_rows

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.status import Container

_CLEAR = "\033[H\033[2J"
_SORTS: dict[str, Callable[["Container"], Any]] = {
    "command": lambda found: " ".join(found.command),
    "created": lambda found: found.created_at_ns,
    "id": lambda found: found.id,
    "image": lambda found: found.image,
    "names": lambda found: found.name,
    "pod": lambda found: found.pod_name,
    "runningfor": lambda found: found.created_at_ns,
    "size": lambda found: found.created_at_ns,
    "status": lambda found: found.state,
}


@local_command(
    epilog=examples(
        "rundlet ps --all",
        "rundlet ps -q --filter label=app=web",
        "rundlet ps --format '{{.Names}} {{.Status}}'",
    )
)
@click.option("-a", "--all", "every", is_flag=True, help="Those too that do not run.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option(
    "-n", "--last", type=int, default=-1, metavar="N", help="The N made last, whatever their state."
)
@click.option("-l", "--latest", is_flag=True, help="The one made last, whatever its state.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Those that match.")
@click.option("--format", "template", default="", metavar="FORMAT", help="json, table …, or a Go template.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids and commands.")
@click.option("--noheading", is_flag=True, help="Without the headings.")
@click.option("--ns", "namespaces", is_flag=True, help="Show their namespaces.")
@click.option("-p", "--pod", is_flag=True, help="Show their pods.")
@click.option("-s", "--size", is_flag=True, help="Show the size of their files.")
@click.option("--sort", type=click.Choice(sorted(_SORTS)), default="created", help="By this column.")
@click.option("--sync", is_flag=True, hidden=True, help="Always in step here.")
@click.option("--external", is_flag=True, hidden=True, help="There are none but those of this program.")
@click.option(
    "-w", "--watch", "pause_s", type=click.IntRange(min=1), metavar="SECONDS", help="Again and again."
)
@pass_machine
def command(
    machine: "Machine", filters: Sequence[str], template: str, pause_s: int | None, **given: Any
) -> None:
    """List containers, those of CRI pods too."""
    _show(machine, filters, template, given)
    while pause_s:
        time.sleep(pause_s)
        print(_CLEAR, end="")
        _show(machine, filters, template, given)


def _show(machine: "Machine", filters: Sequence[str], template: str, given: dict[str, Any]) -> None:
    found = _find(machine, filters, given)
    full = given["no_trunc"]
    if given["quiet"]:
        print("".join(f"{item.id if full else item.short_id}\n" for item in found), end="")
        return
    sizes = {item.id: _measure(machine, item) for item in found} if given["size"] else {}
    spaces = {item.id: read_namespaces(item) for item in found} if given["namespaces"] else {}
    columns = NAMESPACE_COLUMNS if spaces else COLUMNS
    columns = columns | (POD_COLUMNS if given["pod"] else {}) | (SIZE_COLUMNS if given["size"] else {})
    documents = [
        describe_document(item, sizes.get(item.id))
        | {"Namespaces": describe_namespaces(spaces.get(item.id, {}))}
        for item in (found if template == "json" else ())
    ]
    print_rows(
        [describe_row(item, full=full, sizes=sizes.get(item.id)) | spaces.get(item.id, {}) for item in found],
        columns,
        template=template,
        heading=not given["noheading"],
        document=documents,
    )


def _find(machine: "Machine", filters: Sequence[str], given: dict[str, Any]) -> list["Container"]:
    """Oldest first, as podman lists them."""
    from rundlet.local.status import ContainerQuery

    matches = make_filter(filters)
    count = 1 if given["latest"] else given["last"]
    has_state = any(text.startswith(("status=", "exited=")) for text in filters)
    everything = given["every"] or count >= 0 or has_state
    newest = [found for found in machine.containers.list(ContainerQuery(all=everything)) if matches(found)]
    return sorted(newest[:count] if count >= 0 else newest, key=_SORTS[given["sort"]])


def _measure(machine: "Machine", found: "Container") -> tuple[int, int]:
    """Bytes of its own files, and of its image's besides."""
    own = machine.engine.containers.usage(found.id)[0]
    image = machine.engine.images.status(found.image_id)
    return own, own + (image.size_bytes if image else 0)
