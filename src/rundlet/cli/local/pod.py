"""`rundlet pod`: what several containers share, its network first."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.local.command import exit_with, local_command
from rundlet.cli.local.context import each, forgiving, pass_machine, read_id_file
from rundlet.cli.local.flags import LIST, MANY, TEXT, Flag, declare, read_each, read_list, read_one
from rundlet.cli.local.nouns import (
    confirm,
    format_labels,
    inspect_each,
    listing,
    matches_labels,
    matches_name,
    read_filters,
)
from rundlet.cli.local.refused import refusing
from rundlet.cli.local.rows import print_rows
from rundlet.cli.local.runtable import LIMITS
from rundlet.cli.table import rfc3339_time
from rundlet.errors import Error, InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.local.words.environment import read_labels
from rundlet.local.words.numbers import parse_size, read_pairs

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.options import PodRequest
    from rundlet.local.pods import Pod

_REMOVAL: dict[type[Error], int] = {NotFound: 1}  # podman: 125 for one in which something runs
_COLUMNS = {
    "ID": "POD ID",
    "Name": "NAME",
    "Status": "STATUS",
    "Created": "CREATED",
    "NumberOfContainers": "# OF CONTAINERS",
}
_FILTERS = ("name", "id", "label", "status", "network")
_CREATE = (
    Flag("-n --name", TEXT, "NAME", "Its name."),
    Flag("-h --hostname", TEXT, "NAME", "Host name of its containers."),
    Flag("-l --label", MANY, "KEY=VALUE", "A label."),
    Flag("--label-file", LIST, "FILE", "Labels from a file, KEY=VALUE a line."),
    Flag("-p --publish", MANY, "PORT", "[[IP:]HOST-PORT:]PORT[/PROTOCOL]."),
    Flag("--network --net", MANY, "NETWORK", "bridge, none, host or a network's name."),
    Flag("--network-alias", LIST, "NAME", "Another name on its networks."),
    Flag("--ip", TEXT, "ADDRESS", "This IPv4 address."),
    Flag("--ip6", TEXT, "ADDRESS", "This IPv6 address."),
    Flag("--mac-address", TEXT, "ADDRESS", "This MAC address."),
    Flag("--add-host", LIST, "NAME:ADDRESS", "A line for /etc/hosts."),
    Flag("--dns", LIST, "ADDRESS", "Name server."),
    Flag("--dns-option", LIST, "OPTION", "Option of resolv.conf."),
    Flag("--dns-search", LIST, "DOMAIN", "Search domain."),
    Flag("--share", TEXT, "KINDS", "Namespaces that are shared (ipc,net,uts); pid too.", "ipc,net,uts"),
    Flag("--sysctl", LIST, "NAME=VALUE", "Kernel parameter of its namespaces."),
    Flag("--shm-size", TEXT, "SIZE", "Size of /dev/shm."),
    Flag("--cgroup-parent", TEXT, "PATH", "Cgroup above its own."),
    Flag("--pod-id-file", TEXT, "FILE", "Write the id into this file."),
    Flag("--pid", TEXT, "MODE", "Process namespace: private, or host."),
    Flag("--uts", TEXT, "MODE", "Host name's namespace: private, or host."),
    Flag("--uidmap", LIST, "INSIDE:HOST:COUNT", "User ids of its user namespace."),
    Flag("--gidmap", LIST, "INSIDE:HOST:COUNT", "Group ids of its user namespace."),
    *LIMITS,
)


class _Group(LazyGroup):
    table = {
        "create": ("local.pod:create", "Make a pod."),
        "start": ("local.pod:start", "Start pods with their containers."),
        "stop": ("local.pod:stop", "Stop pods with their containers."),
        "restart": ("local.pod:restart", "Stop pods and start them again."),
        "kill": ("local.pod:kill", "Send the containers of pods a signal."),
        "pause": ("local.pod:pause", "Freeze the containers of pods."),
        "unpause": ("local.pod:unpause", "Let the containers of pods go on."),
        "rm": ("local.pod:remove", "Remove pods with their containers."),
        "prune": ("local.pod:prune", "Remove the pods in which nothing runs."),
        "ps": ("local.pod:list_pods", "List pods."),
        "inspect": ("local.pod:inspect", "Show all that is known of pods."),
        "exists": ("local.pod:exists", "Tell by the exit code whether there is a pod."),
        "logs": ("local.pod:logs", "Show what the containers of a pod have written."),
    }
    aliases = {"ls": "ps", "list": "ps", "remove": "rm"}


@click.group(
    cls=_Group, epilog=examples("rundlet pod create -p 8080:80 site", "rundlet run -d --pod site IMAGE")
)
def command() -> None:
    """Pods: containers that share a network, a host name and shared memory."""


@local_command(epilog=examples("rundlet pod create --name site -p 8080:80"))
@click.argument("operand", default="", metavar="[NAME]")
@declare(_CREATE)
@click.option("--replace", is_flag=True, help="Remove a pod of that name first.")
@click.option("--infra", is_flag=True, default=True, hidden=True, help="A pod needs no process here.")
@refusing("pod create")
@pass_machine
def create(machine: "Machine", operand: str, replace: bool, infra: bool, **given: Any) -> None:  # noqa: ARG001
    """Make a pod, and print its id."""
    asked = _read_request(given, operand)
    if replace and machine.pods.exists(asked.name):
        machine.pods.remove(asked.name, force=True)
    pod_id = machine.pods.create(asked)
    if given["pod_id_file"]:
        path = given["pod_id_file"]
        with translating(f"write {path}"), open(path, "w", encoding="utf-8") as file:
            file.write(pod_id)
    print(pod_id)


def _read_request(given: dict[str, Any], operand: str) -> "PodRequest":
    from rundlet.cli.local.runflags import read_limits, read_network, read_ports
    from rundlet.local.options import Namespaces, PodRequest
    from rundlet.local.words.network import parse_dns, parse_host
    from rundlet.local.words.security import parse_id_map, parse_own_or_host

    if operand and given["name"]:
        raise InvalidArgument(f"two names: {operand} and --name {given['name']}")
    return PodRequest(
        name=given["name"] or operand,
        hostname=given["hostname"] or "",
        labels=read_labels(given["label"], read_list(given["label_file"])),
        ports=read_ports(given["publish"]),
        network=read_network(given),
        dns=parse_dns(*(read_list(given[name]) for name in ("dns", "dns_search", "dns_option"))),
        hosts=read_each("--add-host", read_list(given["add_host"]), parse_host),
        share=tuple(filter(None, given["share"].split(","))),
        sysctls=read_pairs(read_list(given["sysctl"])),
        shm_size_bytes=read_one("--shm-size", given["shm_size"], parse_size) if given["shm_size"] else 0,
        cgroup_parent=given["cgroup_parent"] or "",
        resources=read_limits(given),
        namespaces=Namespaces(
            pid=read_one("--pid", given["pid"] or "", parse_own_or_host),
            uts=read_one("--uts", given["uts"] or "", parse_own_or_host),
            uid_maps=read_each("--uidmap", read_list(given["uidmap"]), parse_id_map),
            gid_maps=read_each("--gidmap", read_list(given["gidmap"]), parse_id_map),
        ),
    )


_pods = click.argument("names", nargs=-1, metavar="POD...")
_latest = click.option("-l", "--latest", is_flag=True, help="The pod that was made last.")
_patience = click.option(
    "-t", "--time", "patience_s", type=click.IntRange(min=0), metavar="SECONDS", help="Then they are killed."
)


def _selecting(function: Any) -> Any:
    """Which pods a verb is about."""
    every = click.option("-a", "--all", "every", is_flag=True, help="All pods.")
    files = click.option(
        "--pod-id-file", "files", multiple=True, metavar="FILE", help="The pod whose id is there."
    )
    return _pods(every(_latest(files(function))))


def _choose(
    machine: "Machine",
    names: Sequence[str],
    *,
    every: bool = False,
    latest: bool = False,
    files: Sequence[str] = (),
) -> list[str]:
    names = [*names, *(read_id_file(path, "--pod-id-file") for path in files)]
    if bool(names) + every + latest != 1:
        raise InvalidArgument("name pods, or use one of --all and --latest")
    if not every and not latest:
        return list(names)
    found = [pod.name for pod in machine.pods.list()]
    if latest and not found:
        raise InvalidArgument("there is no pod yet")
    return found[:1] if latest else found


@local_command(epilog=examples("rundlet pod start site"))
@_selecting
@pass_machine
def start(machine: "Machine", **chosen: Any) -> None:
    """Start pods with their containers, in the order in which they were made."""
    each(_choose(machine, **chosen), machine.pods.start)


@local_command(epilog=examples("rundlet pod stop site", "rundlet pod stop -t 2 --all"))
@_selecting
@click.option("-i", "--ignore", is_flag=True, help="Do not mind pods that are not there.")
@_patience
@pass_machine
def stop(machine: "Machine", patience_s: int | None, ignore: bool, **chosen: Any) -> None:
    """Stop pods with their containers, the newest first."""
    act = forgiving(lambda name: machine.pods.stop(name, patience_s), ignore=ignore)
    each(_choose(machine, **chosen), act)


@local_command(epilog=examples("rundlet pod restart site"))
@_selecting
@_patience
@pass_machine
def restart(machine: "Machine", patience_s: int | None, **chosen: Any) -> None:
    """Stop pods and start them again."""
    each(_choose(machine, **chosen), lambda name: machine.pods.restart(name, patience_s))


@local_command(epilog=examples("rundlet pod kill site", "rundlet pod kill --signal HUP site"))
@_selecting
@click.option("-s", "--signal", "signal_name", default="KILL", metavar="SIGNAL", help="KILL.")
@pass_machine
def kill(machine: "Machine", signal_name: str, **chosen: Any) -> None:
    """Send the containers of pods a signal."""
    each(_choose(machine, **chosen), lambda name: machine.pods.kill(name, signal_name))


@local_command(epilog=examples("rundlet pod pause site"))
@_selecting
@pass_machine
def pause(machine: "Machine", **chosen: Any) -> None:
    """Freeze the containers of pods."""
    each(_choose(machine, **chosen), machine.pods.pause)


@local_command(epilog=examples("rundlet pod unpause site"))
@_selecting
@pass_machine
def unpause(machine: "Machine", **chosen: Any) -> None:
    """Let the containers of pods go on."""
    each(_choose(machine, **chosen), machine.pods.unpause)


@local_command(epilog=examples("rundlet pod rm site", "rundlet pod rm --force --all"))
@_selecting
@click.option("-f", "--force", is_flag=True, help="Kill what runs.")
@click.option("-i", "--ignore", is_flag=True, help="Do not mind pods that are not there.")
@_patience
@pass_machine
def remove(machine: "Machine", force: bool, ignore: bool, patience_s: int | None, **chosen: Any) -> None:
    """Remove pods with their containers."""

    def act(name: str) -> None:
        if ignore and not machine.pods.exists(name):
            return
        if force and patience_s:
            machine.pods.stop(name, patience_s)
        machine.pods.remove(name, force=force)

    each(_choose(machine, **chosen), act, codes=_REMOVAL)


@local_command(epilog=examples("rundlet pod prune --force"))
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@pass_machine
def prune(machine: "Machine", force: bool) -> None:
    """Remove the pods in which nothing runs."""
    if force or confirm("Remove all pods in which nothing runs?"):
        idle = [pod for pod in machine.pods.list() if pod.state in ("Exited", "Stopped")]
        each([pod.name for pod in idle], machine.pods.remove)


@local_command(epilog=examples("rundlet pod ps", "rundlet pod ps --filter status=running -q"))
@listing(_FILTERS, quiet="ids", shortened=True)
@pass_machine
def list_pods(
    machine: "Machine",
    filters: Sequence[str],
    template: str,
    no_trunc: bool,
    noheading: bool,
    quiet: bool,
) -> None:
    """List pods."""
    wanted = read_filters(filters, _FILTERS)
    found = [pod for pod in machine.pods.list() if _matches(pod, wanted)]
    show_id: Callable[[Pod], str] = lambda pod: pod.id if no_trunc else pod.id[:12]  # noqa: E731
    if quiet:
        print("".join(f"{show_id(pod)}\n" for pod in found), end="")
        return
    rows = [
        {
            "ID": show_id(pod),
            "Name": pod.name,
            "Status": pod.state,
            "Created": rfc3339_time(pod.created_at_ns),
            "NumberOfContainers": str(len(pod.members)),
            "Labels": format_labels(pod.labels),
        }
        for pod in found
    ]
    documents = list(map(describe_pod, found))
    print_rows(rows, _COLUMNS, template=template, heading=not noheading, document=documents)


def _matches(pod: "Pod", wanted: dict[str, list[str]]) -> bool:
    return (
        matches_name(pod.name, wanted.get("name", ()))
        and matches_labels(pod.labels, wanted.get("label", ()))
        and any(pod.id.startswith(text) for text in wanted.get("id", ("",)))
        and pod.state.lower() in wanted.get("status", (pod.state.lower(),))
        and ("network" not in wanted or bool(set(wanted["network"]) & set(pod.networks)))
    )


def describe_pod(pod: "Pod") -> dict[str, Any]:
    """podman's document of a pod."""
    return {
        "Id": pod.id,
        "Name": pod.name,
        "Created": rfc3339_time(pod.created_at_ns),
        "State": pod.state,
        "Hostname": pod.asked.hostname,
        "Labels": pod.labels,
        "Networks": list(pod.networks),
        "IPs": list(pod.ips),
        "Ports": [
            {
                "host_ip": port.host_ip,
                "host_port": port.host_port,
                "container_port": port.container_port,
                "protocol": port.protocol,
            }
            for port in pod.ports
        ],
        "SharedNamespaces": list(pod.asked.share),
        "NumContainers": len(pod.members),
        "Containers": [
            {"Id": member.id, "Name": member.name, "State": member.state} for member in pod.members
        ],
    }


@local_command(epilog=examples("rundlet pod inspect site"))
@_pods
@_latest
@click.option("-f", "--format", "template", default="json", metavar="FORMAT", help="json, or a Go template.")
@pass_machine
def inspect(machine: "Machine", names: Sequence[str], latest: bool, template: str) -> None:
    """Show all that is known of pods."""
    chosen = _choose(machine, names, latest=latest)
    inspect_each(chosen, lambda name: describe_pod(machine.pods.get(name)), template)


@local_command(epilog=examples("rundlet pod exists site && echo there"))
@click.argument("name", metavar="POD")
@pass_machine
def exists(machine: "Machine", name: str) -> None:
    """Exit code 0 when there is such a pod, 1 when there is none."""
    exit_with(0 if machine.pods.exists(name) else 1)


@local_command(epilog=examples("rundlet pod logs site", "rundlet pod logs -c web -f site"))
@click.argument("name", metavar="POD")
@click.option("-c", "--container", default="", metavar="NAME", help="Of this container only.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the container ends (with --container).")
@click.option("--tail", type=int, default=-1, metavar="N", help="Only so many lines from the end.")
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@pass_machine
def logs(machine: "Machine", name: str, container: str, follow: bool, tail: int, timestamps: bool) -> None:
    """Show what the containers of a pod have written, one after the other."""
    from rundlet.cli.local.logs import show_entries

    if follow and not container:
        raise InvalidArgument("--follow takes one container", hint="name it with --container")
    members = [one.name for one in machine.pods.get(name).members]
    if container and container not in members:
        raise InvalidArgument(
            f"--container {container}: pod {name} has none of that name", hint=", ".join(members)
        )
    for member in (container,) if container else members:
        entries = machine.containers.logs(member, follow=follow, tail=tail)
        show_entries(entries, title="" if container else member, timestamps=timestamps)
