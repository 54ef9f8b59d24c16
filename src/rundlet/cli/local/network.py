"""`rundlet network`: what containers are connected by."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.local.command import exit_with, local_command
from rundlet.cli.local.context import REMOVAL, each, pass_machine
from rundlet.cli.local.nouns import (
    confirm,
    format_labels,
    inspect_each,
    listing,
    matches_labels,
    matches_name,
    read_filters,
)
from rundlet.cli.local.rows import print_rows
from rundlet.cli.table import rfc3339_time
from rundlet.local.words.environment import read_labels
from rundlet.local.words.numbers import read_pairs

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.networks import NetworkInfo

_COLUMNS = {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER"}
_FILTERS = ("name", "label", "driver", "id")


class _Group(LazyGroup):
    table = {
        "create": ("local.network:create", "Make a network."),
        "ls": ("local.network:list_networks", "List networks."),
        "inspect": ("local.network:inspect", "Show all that is known of networks."),
        "exists": ("local.network:exists", "Tell by the exit code whether there is a network."),
        "connect": ("local.connecting:connect", "Put a container on a network."),
        "disconnect": ("local.connecting:disconnect", "Take a container off a network."),
        "rm": ("local.network:remove", "Remove networks."),
        "prune": ("local.network:prune", "Remove the networks that no container asks for."),
    }
    aliases = {"list": "ls", "remove": "rm"}


@click.group(
    cls=_Group, epilog=examples("rundlet network create back", "rundlet run --network back --name db IMAGE")
)
def command() -> None:
    """Networks: on those that are made here, containers find each other by name."""


@local_command(
    epilog=examples(
        "rundlet network create back",
        "rundlet network create --subnet 10.99.0.0/24 --gateway 10.99.0.1 --internal store",
        "rundlet network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 lan",
    )
)
@click.argument("name")
@click.option("-d", "--driver", type=click.Choice(["bridge", "macvlan"]), default="bridge", help="bridge.")
@click.option("--subnet", "subnets", multiple=True, metavar="CIDR", help="A subnet (a free one).")
@click.option("--gateway", "gateways", multiple=True, metavar="IP", help="Of the subnet (its first address).")
@click.option("--ip-range", "ranges", multiple=True, metavar="CIDR", help="Addresses are given from it.")
@click.option("--ipv6", is_flag=True, help="An IPv6 subnet too.")
@click.option("--internal", is_flag=True, help="No way out of it.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option(
    "-o", "--opt", "options", multiple=True, metavar="KEY=VALUE", help="mtu, isolate, parent, mode."
)
@click.option("--disable-dns", is_flag=True, hidden=True, help="There is no DNS server to disable.")
@click.option("--ignore", is_flag=True, help="Do not mind that there is one already.")
@pass_machine
def create(machine: "Machine", name: str, ignore: bool, **given: Any) -> None:
    """Make a network; with no more than a name it has a free subnet and a way out."""
    from rundlet.local.networkplan import NetworkRequest

    if not (ignore and machine.networks.exists(name)):
        machine.networks.create(
            NetworkRequest(
                name,
                given["driver"],
                subnets=given["subnets"],
                gateways=given["gateways"],
                ip_ranges=given["ranges"],
                ipv6=given["ipv6"],
                internal=given["internal"],
                labels=read_labels(given["labels"]),
                options=read_pairs(given["options"], "KEY=VALUE"),
            )
        )
    print(name)


@local_command(epilog=examples("rundlet network ls", "rundlet network ls --format '{{.Name}}'"))
@listing(_FILTERS, quiet="names", shortened=True)
@pass_machine
def list_networks(
    machine: "Machine",
    filters: Sequence[str],
    template: str,
    no_trunc: bool,
    noheading: bool,
    quiet: bool,
) -> None:
    """List networks."""
    wanted = read_filters(filters, _FILTERS)
    found = [network for network in machine.networks.list() if _matches(network, wanted)]
    if quiet:
        print("".join(f"{network.name}\n" for network in found), end="")
        return
    rows = [
        {
            "ID": network.id if no_trunc else network.id[:12],
            "Name": network.name,
            "Driver": network.driver,
            "Labels": format_labels(network.record.labels),
        }
        for network in found
    ]
    documents = list(map(describe_network, found))
    print_rows(rows, _COLUMNS, template=template, heading=not noheading, document=documents)


def _matches(network: "NetworkInfo", wanted: dict[str, list[str]]) -> bool:
    return (
        matches_name(network.name, wanted.get("name", ()))
        and matches_labels(network.record.labels, wanted.get("label", ()))
        and network.driver in wanted.get("driver", (network.driver,))
        and any(network.id.startswith(text) for text in wanted.get("id", ("",)))
    )


def describe_network(network: "NetworkInfo") -> dict[str, Any]:
    """podman's document of a network."""
    record = network.record
    return {
        "name": network.name,
        "id": network.id,
        "driver": network.driver,
        "network_interface": network.interface,
        "created": rfc3339_time(record.created_at_ns),
        "subnets": [
            {"subnet": one.subnet, "gateway": one.gateway}
            | (
                {"lease_range": {"start_ip": one.range_start, "end_ip": one.range_end}}
                if one.range_start
                else {}
            )
            for one in network.subnets
        ],
        "ipv6_enabled": network.ipv6,
        "internal": record.internal,
        "dns_enabled": False,
        "labels": record.labels,
        "options": record.options,
        "ipam_options": {"driver": "host-local"},
        "containers": list(network.users),
    }


@local_command(epilog=examples("rundlet network inspect rundlet"))
@click.argument("names", nargs=-1, required=True, metavar="NETWORK...")
@click.option("-f", "--format", "template", default="json", metavar="FORMAT", help="json, or a Go template.")
@pass_machine
def inspect(machine: "Machine", names: Sequence[str], template: str) -> None:
    """Show all that is known of networks."""
    inspect_each(names, lambda name: describe_network(machine.networks.get(name)), template)


@local_command(epilog=examples("rundlet network exists back && echo there"))
@click.argument("name", metavar="NETWORK")
@pass_machine
def exists(machine: "Machine", name: str) -> None:
    """Exit code 0 when there is such a network, 1 when there is none."""
    exit_with(0 if machine.networks.exists(name) else 1)


@local_command(epilog=examples("rundlet network rm back"))
@click.argument("names", nargs=-1, required=True, metavar="NETWORK...")
@click.option("-f", "--force", is_flag=True, help="Remove the containers and pods that ask for it first.")
@click.option("-t", "--time", "_patience", type=int, hidden=True, help="Containers are killed at once.")
@pass_machine
def remove(machine: "Machine", names: Sequence[str], force: bool, _patience: int | None) -> None:
    """Remove networks."""

    def act(name: str) -> None:
        for user in machine.networks.get(name).users if force else ():
            if machine.pods.exists(user):
                machine.pods.remove(user, force=True)
            else:
                machine.containers.remove(user, force=True)
        machine.networks.remove(name)

    each(names, act, codes=REMOVAL)


@local_command(epilog=examples("rundlet network prune --force"))
@click.option("--filter", "filters", multiple=True, metavar="label=KEY[=VALUE]", help="Only those.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@pass_machine
def prune(machine: "Machine", filters: Sequence[str], force: bool) -> None:
    """Remove the networks that no container asks for."""
    labels = read_labels(read_filters(filters, ("label",)).get("label", ()))
    if force or confirm("Remove all networks that no container asks for?"):
        print("".join(f"{name}\n" for name in machine.networks.prune(labels)), end="")
