import time
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.cli.logsince import parse_since
from rundlet.cli.table import long_time, rfc3339_time
from rundlet.errors import InvalidArgument
from rundlet.local.words.numbers import split_pair, suggest

if TYPE_CHECKING:
    from rundlet.engine.journal import Entry
    from rundlet.local.machine import Machine


@local_command(
    epilog=examples(
        "rundlet events",
        "rundlet events --since 1h --until 0s --filter event=died",
        "rundlet events --format '{{.Type}} {{.Status}} {{.Name}}'",
    )
)
@click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    metavar="KEY=VALUE",
    help="event=, type=, container=, pod=, image=, volume=, network=, secret=, label=.",
)
@click.option("--format", "template", default="", metavar="FORMAT", help="json, or a Go template.")
@click.option("--since", default="", metavar="TIME", help="From this time on, or so long ago.")
@click.option("--until", default="", metavar="TIME", help="Until then.")
@click.option("--stream", is_flag=True, default=True, help="Go on with what happens from now on (true).")
@click.option("--no-trunc", is_flag=True, default=True, help="Whole ids (true).")
@pass_machine
def command(
    machine: "Machine",
    filters: tuple[str, ...],
    template: str,
    since: str,
    until: str,
    stream: bool,
    no_trunc: bool,  # noqa: ARG001
) -> None:
    """Show what happens to containers, pods, images, volumes, networks and secrets, until it is interrupted."""
    wanted = _parse_filters(filters)
    now_ns = time.time_ns()
    until_ns = parse_since(until, now_ns)
    entries = machine.events(
        since_ns=parse_since(since, now_ns),
        until_ns=until_ns,
        follow=stream and not 0 < until_ns <= now_ns,
        filters=wanted,
    )
    for entry in entries:
        print(_show(entry, template), flush=True)


def _parse_filters(texts: tuple[str, ...]) -> dict[str, list[str]]:
    from rundlet.local.events import KEYS

    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, value = split_pair(text, "--filter KEY=VALUE")
        if key not in KEYS:
            raise InvalidArgument(f"--filter {text}: unknown key {key!r}", hint=suggest(key, KEYS))
        wanted.setdefault(key, []).append(value)
    return wanted


def _show(entry: "Entry", template: str) -> str:
    if not template:
        named = {"image": entry.image, "name": entry.name} | entry.labels | entry.attributes
        facts = ", ".join(f"{key}={value}" for key, value in named.items() if value)
        return f"{long_time(entry.time_ns)} {entry.type} {entry.action} {entry.id}" + (
            f" ({facts})" if facts else ""
        )
    from rundlet.cli.gotemplate import render_template

    document = _describe(entry)
    return render_template("{{json .}}" if template == "json" else template, document)


def _describe(entry: "Entry") -> dict[str, Any]:
    code = entry.attributes.get("containerExitCode")
    return {
        "ID": entry.id,
        "Image": entry.image,
        "Name": entry.name,
        "Status": entry.action,
        "Type": entry.type,
        "Time": rfc3339_time(entry.time_ns),
        "Attributes": {**entry.labels, **entry.attributes},
        **({"ContainerExitCode": int(code)} if code is not None else {}),
    }
