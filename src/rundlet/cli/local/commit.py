import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.refused import refusing
from rundlet.cli.table import rfc3339_time
from rundlet.errors import InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.local.words.life import parse_words
from rundlet.local.words.numbers import suggest

if TYPE_CHECKING:
    from rundlet.image.change import Change
    from rundlet.local.machine import Machine


@local_command(
    epilog=examples(
        "rundlet commit db localhost/db:seeded", "rundlet commit -c 'CMD redis-server' db localhost/db"
    )
)
@click.argument("name", metavar="CONTAINER")
@click.argument("image", metavar="[IMAGE]", default="")
@click.option("-a", "--author", default="", metavar="NAME", help="Who made it.")
@click.option(
    "-c",
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    help="As in a Dockerfile: CMD, ENV, LABEL, ….",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="For its history.")
@click.option("--iidfile", default="", metavar="FILE", help="Write its id to FILE.")
@click.option("-p", "--pause", is_flag=True, help="Pause the container meanwhile.")
@click.option("-q", "--quiet", is_flag=True, help="Only the id is ever printed here.")
@refusing("commit")
@pass_machine
def command(machine: "Machine", name: str, image: str, pause: bool, **given: Any) -> None:
    """Make an image of a container's files."""
    from rundlet.local.commit import commit_files

    found = machine.containers.get(name)
    change = _read_change(given)
    paused = pause and found.state == "running"
    if paused:
        machine.containers.pause(found.id)
    try:
        image_id = commit_files(machine.settings.places, found.id, found.image_id, image, change)
    finally:
        if paused:
            machine.containers.unpause(found.id)
    if given["iidfile"]:
        with translating(f"write {given['iidfile']}"), open(given["iidfile"], "w", encoding="utf-8") as file:
            file.write(image_id)
    print(image_id.removeprefix("sha256:"))


def _read_change(given: dict[str, Any]) -> "Change":
    from rundlet.image.change import Change, HistoryEntry

    change = Change()
    for text in given["changes"]:
        change = _apply(change, text)
    if given["author"] or given["message"]:
        history = HistoryEntry(rfc3339_time(time.time_ns()), author=given["author"], comment=given["message"])
        change = change._replace(history=history)
    return change._replace(fields={"author": given["author"]}) if given["author"] else change


def _apply(change: "Change", text: str) -> "Change":
    """WORD VALUE, or WORD=VALUE."""
    word, _, rest = re.sub(r"^(\w+)=", r"\1 ", text.strip()).partition(" ")
    name, value = word.upper(), rest.strip()
    if name not in _READERS:
        raise InvalidArgument(f"--change {text}: unknown instruction {word!r}", hint=suggest(name, _READERS))
    if not value:
        raise InvalidArgument(f"--change {text}: the instruction says nothing")
    return change._replace(**_READERS[name](change, value))


def _words(text: str) -> tuple[str, ...]:
    """A JSON array, or a line for the shell."""
    return tuple(parse_words(text) or ("/bin/sh", "-c", text))


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=") if "=" in text else text.partition(" ")
    return name, value.strip('"')


_READERS: dict[str, Callable[["Change", str], dict[str, Any]]] = {
    "CMD": lambda _, text: {"cmd": _words(text)},
    "ENTRYPOINT": lambda _, text: {"entrypoint": _words(text)},
    "ENV": lambda change, text: {"env": (*change.env, "=".join(_pair(text)))},
    "EXPOSE": lambda change, text: {"exposed_ports": (*change.exposed_ports, *text.split())},
    "LABEL": lambda change, text: {"labels": {**change.labels, **dict([_pair(text)])}},
    "STOPSIGNAL": lambda _, text: {"stop_signal": text},
    "USER": lambda _, text: {"user": text},
    "VOLUME": lambda change, text: {"volumes": (*change.volumes, *(parse_words(text) or text.split()))},
    "WORKDIR": lambda _, text: {"working_dir": text},
}
