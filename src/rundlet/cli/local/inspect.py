from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import FAILED, local_command
from rundlet.cli.local.context import latest_container, pass_machine
from rundlet.cli.local.inspectview import describe_container
from rundlet.cli.local.rows import print_json
from rundlet.cli.report import report
from rundlet.errors import Error, InvalidArgument, NotFound

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

Look = Callable[["Machine", str], dict[str, Any]]


@local_command(
    epilog=examples(
        "rundlet inspect db",
        "rundlet inspect --format '{{.State.Status}} {{.State.ExitCode}}' db",
        "rundlet inspect --type image docker.io/library/redis:alpine",
    )
)
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("-f", "--format", "template", default="json", metavar="FORMAT", help="json, or a Go template.")
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@click.option("-s", "--size", is_flag=True, help="Containers: the size of their files too.")
@click.option(
    "-t", "--type", "kind", default="all", metavar="KIND", help="container, image, pod, network or volume."
)
@pass_machine
def command(
    machine: "Machine", names: Sequence[str], template: str, latest: bool, size: bool, kind: str
) -> None:
    """Show all that is known of containers, and of images, pods, networks and volumes."""
    names = [latest_container(machine).id] if latest else names
    if not names:
        raise InvalidArgument("name at least one object", hint="or use --latest")
    looks = _choose_looks(kind)
    found, failed = [], False
    for name in names:
        try:
            found.append(_look(machine, name, looks, size=size))
        except Error as error:
            report(error)
            failed = True
    _print(found, template)
    if failed:
        raise click.exceptions.Exit(FAILED)


def _choose_looks(kind: str) -> Sequence[Look]:
    if kind == "all":
        return tuple(_LOOKS.values())
    if kind not in _LOOKS:
        raise InvalidArgument(f"--type {kind}: unknown", hint=f"known are all, {', '.join(_LOOKS)}")
    return (_LOOKS[kind],)


def _look(machine: "Machine", name: str, looks: Sequence[Look], *, size: bool) -> dict[str, Any]:
    for look in looks:
        try:
            document = look(machine, name)
        except NotFound:
            continue
        if size and "State" in document:
            document["SizeRw"] = machine.engine.containers.usage(document["Id"])[0]
        return document
    raise NotFound(f"no such object: {name!r}")


def _print(found: list[dict[str, Any]], template: str) -> None:
    if template == "json":
        print_json(found)
        return
    from rundlet.cli.gotemplate import render_template

    for document in found:
        print(render_template(template, document))


def _look_at_container(machine: "Machine", name: str) -> dict[str, Any]:
    found = machine.containers.get(name)
    image = machine.engine.images.status(found.image_id)
    links = machine.engine.pods.links(found.pod_id)
    document = describe_container(found, image.config.config if image else None, links)
    for mount in document["Mounts"]:
        if mount["Type"] == "volume":
            mount["Source"] = machine.volumes.locate(mount["Name"])
    pod_files = f"{machine.settings.engine.pods_dir}/{found.pod_id}"
    return document | {
        "ImageDigest": image.manifest_digest if image else "",
        "ResolvConfPath": f"{pod_files}/resolv.conf",
        "HostnamePath": f"{pod_files}/hostname",
        "HostsPath": f"{pod_files}/hosts",
    }


def _look_at_image(machine: "Machine", name: str) -> dict[str, Any]:
    from rundlet.cli.local.images import describe_image

    found = machine.engine.images.status(name)
    if found is None:
        raise NotFound(f"no such image: {name!r}")
    return describe_image(found)


def _look_at_pod(machine: "Machine", name: str) -> dict[str, Any]:
    from rundlet.cli.local.pod import describe_pod

    return describe_pod(machine.pods.get(name))


def _look_at_network(machine: "Machine", name: str) -> dict[str, Any]:
    from rundlet.cli.local.network import describe_network

    return describe_network(machine.networks.get(name))


def _look_at_volume(machine: "Machine", name: str) -> dict[str, Any]:
    from rundlet.cli.local.volume import describe_volume

    return describe_volume(machine.volumes.get(name))


_LOOKS: dict[str, Look] = {
    "container": _look_at_container,
    "image": _look_at_image,
    "pod": _look_at_pod,
    "network": _look_at_network,
    "volume": _look_at_volume,
}
