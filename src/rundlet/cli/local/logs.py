import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import choose, pass_machine
from rundlet.cli.logsince import parse_since
from rundlet.cli.table import rfc3339_time
from rundlet.errors import InvalidArgument

_COLORS = (37, 31, 32, 33, 34, 35, 36)  # of console_codes(4)

if TYPE_CHECKING:
    from rundlet.local.logs import LogEntry
    from rundlet.local.machine import Machine


@local_command(
    epilog=examples("rundlet logs db", "rundlet logs -f --tail 10 db", "rundlet logs --since 5m -t db web")
)
@click.argument("names", nargs=-1, metavar="CONTAINER...")
@click.option("--color", "colored", is_flag=True, help="Show each container's name, in a color of its own.")
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends.")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@click.option("-n", "--names", "named", is_flag=True, help="Show the container's name before each line.")
@click.option(
    "--since",
    default="",
    metavar="TIME",
    help="From this time on (2026-01-31T13:00:00Z), or so long ago (5m).",
)
@click.option("--until", default="", metavar="TIME", help="Until then.")
@click.option("--tail", type=int, default=-1, metavar="N", help="Only so many lines from the end.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@pass_machine
def command(
    machine: "Machine",
    names: Sequence[str],
    latest: bool,
    colored: bool,
    follow: bool,
    named: bool,
    since: str,
    until: str,
    tail: int,
    timestamps: bool,
) -> None:
    """Show what containers have written: stdout to stdout, stderr to stderr."""
    chosen = choose(machine, names, latest=latest)
    if follow and len(chosen) > 1:
        raise InvalidArgument("--follow takes one container")
    now_ns = time.time_ns()
    for number, name in enumerate(chosen):
        entries = machine.containers.logs(
            name,
            follow=follow,
            tail=tail,
            since_ns=parse_since(since, now_ns),
            until_ns=parse_since(until, now_ns),
        )
        title = machine.containers.get(name).name if named or colored else ""
        if colored:
            title = f"\033[{_COLORS[number % len(_COLORS)]}m{title}\033[0m"
        show_entries(entries, title=title, timestamps=timestamps)


def show_entries(entries: "Iterator[LogEntry]", *, title: str, timestamps: bool) -> None:
    """Each to its own stream; what follows a partial line is joined to it."""
    outputs = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    begun: dict[str, bool] = {}
    for entry in entries:
        head = ""
        if not begun.get(entry.stream):
            head = (f"{title} " if title else "") + (f"{rfc3339_time(entry.time_ns)} " if timestamps else "")
        begun[entry.stream] = entry.partial
        out = outputs[entry.stream]
        out.write(head.encode() + entry.content + (b"" if entry.partial else b"\n"))
        out.flush()
