from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import FAILED, local_command
from rundlet.cli.local.context import choose, forgiving, local_containers, pass_machine
from rundlet.cli.local.selecting import selecting
from rundlet.cli.report import report
from rundlet.errors import Error, FailedPrecondition, NotFound

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.status import Container

_MISSING, _RUNNING = 1, 2


@local_command(epilog=examples("rundlet rm db", "rundlet rm -f db web", "rundlet rm --all"))
@selecting(short_filter=False)
@click.option(
    "-f", "--force", is_flag=True, help="Also those that run, and do not mind those that are not there."
)
@click.option("-i", "--ignore", is_flag=True, help="Do not mind containers that are not there.")
@click.option("--depend", is_flag=True, help="Those too that need it, or share what it has.")
@click.option("-v", "--volumes", is_flag=True, help="Their anonymous volumes too.")
@click.option(
    "-t",
    "--time",
    "patience_s",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="With --force: stop it first.",
)
@pass_machine
def command(
    machine: "Machine",
    force: bool,
    ignore: bool,
    depend: bool,
    volumes: bool,
    patience_s: int | None,
    **chosen: Any,
) -> None:
    """Remove containers.

    Ends with 1 when one is not there, 2 when one runs.
    """

    def remove(name: str) -> None:
        if force and patience_s is not None:
            machine.containers.stop(name, patience_s)
        machine.containers.remove(name, force=force, volumes=volumes)

    names = choose(machine, **chosen)
    if depend:
        names = _add_dependents(machine, names)
    code = 0
    for name in names:
        code = _attempt(forgiving(remove, ignore=ignore or force), name) or code
    if code:
        raise click.exceptions.Exit(code)


def _add_dependents(machine: "Machine", names: Sequence[str]) -> list[str]:
    """Before each container those that depend on it, and theirs."""
    left = {item.id: item for item in local_containers(machine)}
    ordered: dict[str, str] = {}

    def add(full_id: str, name: str) -> None:
        item = left.pop(full_id, None)
        for other in [*left.values()] if item else ():
            if other.id in left and item and _depends(other, item):
                add(other.id, other.id)
        ordered[full_id] = name

    for name in names:
        try:
            full_id = machine.containers.find(name).id
        except NotFound:
            full_id = name  # its removal tells that it is not there
        if full_id not in ordered:
            add(full_id, name)
    return list(ordered.values())


def _depends(other: "Container", item: "Container") -> bool:
    """By `--requires`, or by living in the pod that was made for the other."""
    needs = other.asked is not None and bool({item.name, item.id} & {*other.asked.requires})
    return needs or (item.own_pod and other.pod_id == item.pod_id)


def _attempt(act: Callable[[str], Any], name: str) -> int:
    """The exit code."""
    try:
        act(name)
    except Error as error:
        report(error)
        return {NotFound: _MISSING, FailedPrecondition: _RUNNING}.get(type(error), FAILED)
    print(name, flush=True)
    return 0
