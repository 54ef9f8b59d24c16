"""`rundlet volume`: directories that containers come and go around."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.local.command import exit_with, local_command
from rundlet.cli.local.context import REMOVAL, each, pass_machine
from rundlet.cli.local.nouns import (
    confirm,
    inspect_each,
    listing,
    matches_labels,
    matches_name,
    read_filters,
)
from rundlet.cli.local.rows import print_rows
from rundlet.cli.table import rfc3339_time
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.local.words.environment import read_labels
from rundlet.local.words.numbers import read_pairs

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.volumes import Volume

_COLUMNS = {"Driver": "DRIVER", "Name": "VOLUME NAME"}
_FILTERS = ("name", "label", "dangling")


class _Group(LazyGroup):
    table = {
        "create": ("local.volume:create", "Make a volume."),
        "ls": ("local.volume:list_volumes", "List volumes."),
        "inspect": ("local.volume:inspect", "Show all that is known of volumes."),
        "exists": ("local.volume:exists", "Tell by the exit code whether there is a volume."),
        "rm": ("local.volume:remove", "Remove volumes."),
        "prune": ("local.volume:prune", "Remove the volumes that no container has."),
        "export": ("local.volume:write_archive", "Write what is in a volume as a tar."),
        "import": ("local.volume:read_archive", "Unpack a tar into a volume."),
        "mount": ("local.volume:mount", "Show where the files of volumes are."),
    }
    aliases = {"list": "ls", "remove": "rm"}


@click.group(cls=_Group, epilog=examples("rundlet volume create data", "rundlet run -v data:/data IMAGE"))
def command() -> None:
    """Volumes: made when a container asks for one, filled from its image, kept until removed."""


@local_command(
    epilog=examples("rundlet volume create data", "rundlet volume create -o type=tmpfs -o o=size=64m scratch")
)
@click.argument("name", default="", metavar="[NAME]")
@click.option("-d", "--driver", default="local", metavar="DRIVER", help="local, and no other.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option("-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="type, device, o.")
@pass_machine
def create(machine: "Machine", name: str, driver: str, labels: Sequence[str], options: Sequence[str]) -> None:
    """Make a volume, with a name of 64 digits unless one is given."""
    from rundlet.local.volumes import VolumeRequest

    if driver != "local":
        raise InvalidArgument(f"--driver {driver}: there is only local")
    request = VolumeRequest(name, read_labels(labels), read_pairs(options, "KEY=VALUE"))
    print(machine.volumes.create(request).name)


@local_command(epilog=examples("rundlet volume ls", "rundlet volume ls -q --filter dangling=true"))
@listing(_FILTERS, quiet="names")
@pass_machine
def list_volumes(
    machine: "Machine", filters: Sequence[str], template: str, noheading: bool, quiet: bool
) -> None:
    """List volumes."""
    wanted = read_filters(filters, _FILTERS)
    found = [volume for volume in machine.volumes.list() if _matches(volume, wanted)]
    if quiet:
        print("".join(f"{volume.name}\n" for volume in found), end="")
        return
    documents = list(map(describe_volume, found))
    print_rows(documents, _COLUMNS, template=template, heading=not noheading, document=documents)


def _matches(volume: "Volume", wanted: dict[str, list[str]]) -> bool:
    dangling = wanted.get("dangling")
    return (
        matches_name(volume.name, wanted.get("name", ()))
        and matches_labels(volume.labels, wanted.get("label", ()))
        and (not dangling or (dangling[-1] in ("true", "1")) == (not volume.users))
    )


def describe_volume(volume: "Volume") -> dict[str, Any]:
    """podman's document of a volume."""
    return {
        "Name": volume.name,
        "Driver": "local",
        "Mountpoint": volume.path,
        "CreatedAt": rfc3339_time(volume.created_at_ns),
        "Labels": volume.labels,
        "Scope": "local",
        "Options": volume.options,
        "Anonymous": volume.anonymous,
        "MountCount": len(volume.users),
        "Users": list(volume.users),
    }


@local_command(epilog=examples("rundlet volume inspect data"))
@click.argument("names", nargs=-1, metavar="VOLUME...")
@click.option("-a", "--all", "every", is_flag=True, help="All volumes.")
@click.option("-f", "--format", "template", default="json", metavar="FORMAT", help="json, or a Go template.")
@pass_machine
def inspect(machine: "Machine", names: Sequence[str], every: bool, template: str) -> None:
    """Show all that is known of volumes."""
    names = [volume.name for volume in machine.volumes.list()] if every else _named(names)
    inspect_each(names, lambda name: describe_volume(machine.volumes.get(name)), template)


def _named(names: Sequence[str]) -> Sequence[str]:
    if not names:
        raise InvalidArgument("name at least one volume", hint="or use --all")
    return names


@local_command(epilog=examples("rundlet volume exists data && echo there"))
@click.argument("name", metavar="VOLUME")
@pass_machine
def exists(machine: "Machine", name: str) -> None:
    """Exit code 0 when there is such a volume, 1 when there is none."""
    exit_with(0 if machine.volumes.exists(name) else 1)


@local_command(epilog=examples("rundlet volume rm data", "rundlet volume rm --force data"))
@click.argument("names", nargs=-1, metavar="VOLUME...")
@click.option("-a", "--all", "every", is_flag=True, help="All volumes.")
@click.option("-f", "--force", is_flag=True, help="Remove the containers that have it first.")
@pass_machine
def remove(machine: "Machine", names: Sequence[str], every: bool, force: bool) -> None:
    """Remove volumes and all that is in them."""
    names = [volume.name for volume in machine.volumes.list()] if every else _named(names)

    def act(name: str) -> None:
        if force:
            for user in machine.volumes.get(name).users:
                machine.containers.remove(user, force=True)
        if not force or machine.volumes.exists(name):  # an anonymous one goes with its container
            machine.volumes.remove(name)

    each(names, act, codes=REMOVAL)


@local_command(epilog=examples("rundlet volume prune --force"))
@click.option("--filter", "filters", multiple=True, metavar="label=KEY[=VALUE]", help="Only those.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@pass_machine
def prune(machine: "Machine", filters: Sequence[str], force: bool) -> None:
    """Remove the volumes that no container has."""
    labels = read_labels(read_filters(filters, ("label",)).get("label", ()))
    if force or confirm("Remove all volumes that no container has?"):
        print("".join(f"{name}\n" for name in machine.volumes.prune(labels)), end="")


@local_command(epilog=examples("rundlet volume export data -o data.tar"))
@click.argument("name", metavar="VOLUME")
@click.option("-o", "--output", default="", metavar="FILE", help="Into this file instead of standard output.")
@pass_machine
def write_archive(machine: "Machine", name: str, output: str) -> None:
    """Write what is in a volume as a tar."""
    machine.volumes.get(name)
    if output:
        with translating(f"write {output}"), open(output, "wb") as file:
            machine.volumes.write_archive(name, file)
    elif sys.stdout.isatty():
        raise InvalidArgument("a tar is nothing to read on a terminal", hint="--output FILE, or redirect it")
    else:
        machine.volumes.write_archive(name, sys.stdout.buffer)


@local_command(epilog=examples("rundlet volume import data data.tar"))
@click.argument("name", metavar="VOLUME")
@click.argument("source", default="-", metavar="[FILE]")
@pass_machine
def read_archive(machine: "Machine", name: str, source: str) -> None:
    """Unpack a tar (standard input, or FILE) into a volume."""
    machine.volumes.get(name)
    if source == "-":
        machine.volumes.read_archive(name, sys.stdin.buffer)
        return
    with translating(f"read {source}"), open(source, "rb") as file:
        machine.volumes.read_archive(name, file)


@local_command(epilog=examples("ls $(rundlet volume mount data)"))
@click.argument("names", nargs=-1, required=True, metavar="VOLUME...")
@pass_machine
def mount(machine: "Machine", names: Sequence[str]) -> None:
    """Show where the files of volumes are, after mounting those with options."""
    for name in names:
        machine.volumes.mount(name)
        print(machine.volumes.locate(name))
