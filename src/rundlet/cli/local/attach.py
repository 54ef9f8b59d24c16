from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import exit_with, local_command
from rundlet.cli.local.context import one_name, pass_machine
from rundlet.cli.local.run import open_streams, stay, teller
from rundlet.cli.local.streams import Way, catch_signals, passed_signals
from rundlet.cli.terminal import parse_keys
from rundlet.errors import FailedPrecondition

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(epilog=examples("rundlet attach shell", "rundlet attach --no-stdin db"))
@click.argument("names", nargs=-1, metavar="CONTAINER")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@click.option("--no-stdin", is_flag=True, help="Only its output.")
@click.option("--detach-keys", default="ctrl-p,ctrl-q", metavar="KEYS", help="Keys that leave it running.")
@click.option("--sig-proxy", is_flag=True, default=True, help="Pass signals on to it (true).")
@pass_machine
def command(
    machine: "Machine",
    names: tuple[str, ...],
    latest: bool,
    no_stdin: bool,
    detach_keys: str,
    sig_proxy: bool,
) -> None:
    """Follow a running container, and type into it, until it ends or the detach keys are typed."""
    found = machine.containers.get(one_name(machine, names, latest=latest))
    if found.state != "running":
        raise FailedPrecondition(f"cannot attach to container {found.name}: it is {found.state}")
    stdin = bool(found.asked and found.asked.stdin and not no_stdin)
    way = Way(
        stdin=stdin,
        terminal=bool(found.asked and found.asked.tty),
        detach_keys=parse_keys(detach_keys),
        tell=teller(machine, found.id) if sig_proxy else None,
    )
    attached = ("stdin", "stdout", "stderr") if stdin else ("stdout", "stderr")
    with catch_signals(passed_signals(proxy=sig_proxy)) as signal_fd:
        streams = open_streams(machine, found.id, attached)
        exit_with(stay(machine, found.id, streams, way, signal_fd).exit_code)
