import time
from collections.abc import Callable, Iterator
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


def _is_named(entry: "Entry", text: str) -> bool:
    return entry.name == text or entry.id.startswith(text)


def _has_label(entry: "Entry", text: str) -> bool:
    key, equals, value = text.partition("=")
    return key in entry.labels and (not equals or entry.labels[key] == value)


_TESTS: dict[str, Callable[["Entry", str], bool]] = {
    "event": lambda entry, text: entry.action == text,
    "type": lambda entry, text: entry.type == text,
    "container": lambda entry, text: entry.type == "container" and _is_named(entry, text),
    "pod": lambda entry, text: (
        (entry.type == "pod" and _is_named(entry, text)) or entry.pod_id.startswith(text)
    ),
    "image": lambda entry, text: entry.image == text or (entry.type == "image" and _is_named(entry, text)),
    "label": _has_label,
}


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
    help="event=, type=, container=, pod=, image=, label=.",
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
    """Show what happens to containers, pods and images, until it is interrupted."""
    wanted = _parse_filters(filters)
    now_ns = time.time_ns()
    since_ns, until_ns = parse_since(since, now_ns), parse_since(until, now_ns)
    for entry in _read(machine, stream=stream, since_ns=since_ns, until_ns=until_ns):
        if all(any(_TESTS[key](entry, value) for value in values) for key, values in wanted.items()):
            print(_show(entry, template), flush=True)


def _read(machine: "Machine", *, stream: bool, since_ns: int, until_ns: int) -> "Iterator[Entry]":
    journal = machine.engine.journal
    is_past = not stream or (0 < until_ns <= time.time_ns())
    entries = (
        journal.read()
        if is_past
        else journal.follow(is_over=lambda: 0 < until_ns <= time.time_ns(), with_past=bool(since_ns))
    )
    for entry in entries:
        if until_ns and entry.time_ns > until_ns:
            return
        if entry.time_ns >= since_ns:
            yield entry


def _parse_filters(texts: tuple[str, ...]) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    for text in texts:
        key, value = split_pair(text, "--filter KEY=VALUE")
        if key not in _TESTS:
            raise InvalidArgument(f"--filter {text}: unknown key {key!r}", hint=suggest(key, _TESTS))
        wanted.setdefault(key, []).append(value)
    return wanted


def _show(entry: "Entry", template: str) -> str:
    if not template:
        facts = ", ".join(
            part
            for part in (
                f"image={entry.image}" if entry.image else "",
                f"name={entry.name}" if entry.name else "",
            )
            if part
        )
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
