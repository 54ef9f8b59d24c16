from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import exit_with, local_command
from rundlet.cli.local.context import choose, each, pass_machine
from rundlet.cli.local.run import open_streams, settle, stay, teller
from rundlet.cli.local.selecting import selecting
from rundlet.cli.local.streams import Way, catch_signals, passed_signals
from rundlet.cli.terminal import parse_keys
from rundlet.errors import InvalidArgument

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet start db", "rundlet start --attach --interactive shell"))
@selecting(short_all=False)
@click.option("-a", "--attach", is_flag=True, help="Stay with it: its output, signals, its exit code.")
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("--detach-keys", default="ctrl-p,ctrl-q", metavar="KEYS", help="Keys that leave it running.")
@click.option("--sig-proxy", is_flag=True, default=True, help="With --attach: pass signals on (true).")
@pass_machine
def command(
    machine: "Machine", attach: bool, interactive: bool, detach_keys: str, sig_proxy: bool, **chosen: Any
) -> None:
    """Start containers that were made or have ended."""
    names = choose(machine, states=("created", "exited"), **chosen)
    if not (attach or interactive):
        each(names, machine.containers.start)
        return
    if len(names) != 1:
        raise InvalidArgument("--attach takes one container")
    way = Way(stdin=interactive, detach_keys=parse_keys(detach_keys))
    exit_with(start_attached(machine, names[0], way, proxy=sig_proxy))


def start_attached(machine: "Machine", name: str, way: Way, *, proxy: bool) -> int:
    """The exit code."""
    found = machine.containers.get(name)
    if found.state not in ("created", "running"):
        machine.containers.prepare(found.id)
    attached = ("stdin", "stdout", "stderr") if way.stdin else ("stdout", "stderr")
    way = way._replace(
        terminal=found.asked.tty if found.asked else False,
        tell=teller(machine, found.id) if proxy else None,
    )
    with catch_signals(passed_signals(proxy=proxy)) as signal_fd:
        streams = open_streams(machine, found.id, attached)
        machine.containers.start(found.id, attended=True)
        outcome = stay(machine, found.id, streams, way, signal_fd)
    if not outcome.detached:
        settle(machine, found.id)
    return outcome.exit_code
