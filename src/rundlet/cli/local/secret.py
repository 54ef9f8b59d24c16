"""`rundlet secret`: small values that are in no image and no record."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.local.command import exit_with, local_command
from rundlet.cli.local.context import each, pass_machine
from rundlet.cli.local.nouns import listing, matches_name, print_documents, read_filters
from rundlet.cli.local.rows import print_rows
from rundlet.cli.table import rfc3339_time
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.local.words.environment import read_labels

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.secrets import Secret

_COLUMNS = {"ID": "ID", "Name": "NAME", "Driver": "DRIVER", "CreatedAt": "CREATED", "UpdatedAt": "UPDATED"}


class _Group(LazyGroup):
    table = {
        "create": ("local.secret:create", "Keep a secret."),
        "ls": ("local.secret:list_secrets", "List secrets, without their values."),
        "inspect": ("local.secret:inspect", "Show all that is known of secrets but their values."),
        "exists": ("local.secret:exists", "Tell by the exit code whether there is a secret."),
        "rm": ("local.secret:remove", "Remove secrets."),
    }
    aliases = {"list": "ls", "remove": "rm"}


@click.group(
    cls=_Group,
    epilog=examples(
        "rundlet secret create word word.txt", "rundlet run --secret word IMAGE cat /run/secrets/word"
    ),
)
def command() -> None:
    """Secrets: seen by a container as a file in memory, or as a variable."""


@local_command(
    epilog=examples("rundlet secret create word word.txt", "printf xyzzy | rundlet secret create word -")
)
@click.argument("name")
@click.argument("source", default="", metavar="FILE|-")
@click.option("--env", "from_env", is_flag=True, help="The value is that of the variable FILE.")
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option("--replace", is_flag=True, help="In place of one of that name.")
@click.option("-d", "--driver", default="file", metavar="DRIVER", help="file, and no other.")
@pass_machine
def create(
    machine: "Machine",
    name: str,
    source: str,
    from_env: bool,
    labels: Sequence[str],
    replace: bool,
    driver: str,
) -> None:
    """Keep a secret read from a file, from standard input (-), or from a variable (--env)."""
    if driver != "file":
        raise InvalidArgument(f"--driver {driver}: there is only file")
    value = _read_variable(source) if from_env else _read_value(source)
    print(machine.secrets.create(name, value, read_labels(labels), replace=replace).id)


def _read_variable(name: str) -> bytes:
    value = os.environb.get(name.encode())
    if value is None:
        raise InvalidArgument(f"--env {name}: there is no such variable")
    return value


def _read_value(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read()
    if not source:
        raise InvalidArgument("name a file", hint="or - for standard input")
    with translating(f"read {source}"), open(source, "rb") as file:
        return file.read()


@local_command(epilog=examples("rundlet secret ls"))
@listing(("name", "id"), quiet="ids")
@pass_machine
def list_secrets(
    machine: "Machine", filters: Sequence[str], template: str, noheading: bool, quiet: bool
) -> None:
    """List secrets, without their values."""
    wanted = read_filters(filters, ("name", "id"))
    found = [
        secret
        for secret in machine.secrets.list()
        if matches_name(secret.name, wanted.get("name", ()))
        and any(secret.id.startswith(text) for text in wanted.get("id", ("",)))
    ]
    if quiet:
        print("".join(f"{secret.id}\n" for secret in found), end="")
        return
    rows = [
        {
            "ID": secret.id,
            "Name": secret.name,
            "Driver": "file",
            "CreatedAt": rfc3339_time(secret.created_at_ns),
            "UpdatedAt": rfc3339_time(secret.updated_at_ns),
        }
        for secret in found
    ]
    print_rows(rows, _COLUMNS, template=template, heading=not noheading, document=rows)


def describe_secret(secret: "Secret") -> dict[str, Any]:
    """podman's document of a secret."""
    return {
        "ID": secret.id,
        "CreatedAt": rfc3339_time(secret.created_at_ns),
        "UpdatedAt": rfc3339_time(secret.updated_at_ns),
        "Spec": {"Name": secret.name, "Driver": {"Name": "file", "Options": {}}, "Labels": secret.labels},
    }


@local_command(epilog=examples("rundlet secret inspect word"))
@click.argument("names", nargs=-1, required=True, metavar="SECRET...")
@click.option("-f", "--format", "template", default="json", metavar="FORMAT", help="json, or a Go template.")
@pass_machine
def inspect(machine: "Machine", names: Sequence[str], template: str) -> None:
    """Show all that is known of secrets but their values."""
    print_documents([describe_secret(machine.secrets.get(name)) for name in names], template)


@local_command(epilog=examples("rundlet secret exists word && echo there"))
@click.argument("name", metavar="SECRET")
@pass_machine
def exists(machine: "Machine", name: str) -> None:
    """Exit code 0 when there is such a secret, 1 when there is none."""
    exit_with(0 if machine.secrets.exists(name) else 1)


@local_command(epilog=examples("rundlet secret rm word", "rundlet secret rm --all"))
@click.argument("names", nargs=-1, metavar="SECRET...")
@click.option("-a", "--all", "every", is_flag=True, help="All secrets.")
@pass_machine
def remove(machine: "Machine", names: Sequence[str], every: bool) -> None:
    """Remove secrets; containers keep the copies that they have."""
    chosen = [secret.name for secret in machine.secrets.list()] if every else list(names)
    if not chosen and not every:
        raise InvalidArgument("name at least one secret", hint="or use --all")
    each(chosen, machine.secrets.remove)
