from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import local_containers, one_name, pass_machine
from rundlet.errors import NotFound
from rundlet.local.words.ports import parse_port_range, parse_protocol

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.status import Container


@local_command(epilog=examples("rundlet port web", "rundlet port web 80/tcp", "rundlet port --all"))
@click.argument("words", nargs=-1, metavar="[CONTAINER [PORT[/PROTOCOL]]]")
@click.option("-a", "--all", "every", is_flag=True, help="Of all running containers.")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@pass_machine
def command(machine: "Machine", words: tuple[str, ...], every: bool, latest: bool) -> None:
    """Show the ports of containers on the host."""
    if every:
        for found in local_containers(machine, ("running", "paused")):
            print("".join(f"{found.short_id}\t{line}\n" for line in _list(found)), end="")
        return
    names, wanted = (words[:0], words) if latest else (words[:1], words[1:])
    found = machine.containers.get(one_name(machine, names, latest=latest))
    lines = _list(found) if not wanted else _find(found, wanted[0])
    print("".join(f"{line}\n" for line in lines), end="")


def _list(found: "Container") -> list[str]:
    return [
        f"{port.container_port}/{port.protocol} -> {port.host_ip or '0.0.0.0'}:{port.host_port}"  # noqa: S104
        for port in found.ports
    ]


def _find(found: "Container", text: str) -> list[str]:
    number, _, protocol = text.partition("/")
    wanted = (parse_port_range(number)[0], parse_protocol(protocol or "tcp"))
    lines = [
        f"{port.host_ip or '0.0.0.0'}:{port.host_port}"  # noqa: S104
        for port in found.ports
        if (port.container_port, port.protocol) == wanted
    ]
    if not lines:
        raise NotFound(f"port {text} of container {found.name} is not published")
    return lines
