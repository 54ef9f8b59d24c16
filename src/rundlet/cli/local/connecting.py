"""`network connect` and `disconnect`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.flags import read_list, read_one
from rundlet.engine.options import NetworkUse
from rundlet.local.words.network import parse_ip4, parse_ip6, parse_mac

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(
    epilog=examples("rundlet network connect back db", "rundlet network connect --alias store back db")
)
@click.argument("network")
@click.argument("container")
@click.option("--alias", "aliases", multiple=True, metavar="NAME", help="Another name on this network.")
@click.option("--ip", default="", metavar="ADDRESS", help="This IPv4 address.")
@click.option("--ip6", default="", metavar="ADDRESS", help="This IPv6 address.")
@click.option("--mac-address", "mac", default="", metavar="ADDRESS", help="This MAC address.")
@pass_machine
def connect(
    machine: "Machine", network: str, container: str, aliases: Sequence[str], ip: str, ip6: str, mac: str
) -> None:
    """Put a container on a network, whether it runs or not."""
    ips = [
        read_one(option, text, parse)
        for option, text, parse in (("--ip", ip, parse_ip4), ("--ip6", ip6, parse_ip6))
        if text
    ]
    end = NetworkUse(
        network, tuple(ips), read_one("--mac-address", mac, parse_mac) if mac else "", read_list(aliases)
    )
    machine.networks.connect(machine.containers.find(container).require_local("connect"), end)


@local_command(epilog=examples("rundlet network disconnect back db"))
@click.argument("network")
@click.argument("container")
@click.option("-f", "--force", is_flag=True, help="Do not mind that it is not on it.")
@pass_machine
def disconnect(machine: "Machine", network: str, container: str, force: bool) -> None:
    """Take a container off a network, whether it runs or not."""
    from rundlet.errors import NotFound

    record = machine.containers.find(container).require_local("disconnect")
    try:
        machine.networks.disconnect(record, network)
    except NotFound:
        if not force:
            raise
