"""`rundlet kube`: Kubernetes' YAML without a cluster."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.interrupts import holding_signals
from rundlet.cli.lazygroup import LazyGroup
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.cli.local.flags import read_each
from rundlet.cli.local.refused import refusing
from rundlet.errors import AlreadyExists, InvalidArgument
from rundlet.kernel.failure import translating
from rundlet.local.words.network import parse_mac
from rundlet.local.words.numbers import read_pairs
from rundlet.local.words.ports import parse_address

if TYPE_CHECKING:
    from rundlet.kube.documents import Document
    from rundlet.kube.play import PlaySettings
    from rundlet.local.machine import Machine


class _Group(LazyGroup):
    table = {
        "play": ("local.kube:play", "Make what a file of Kubernetes' YAML says."),
        "down": ("local.kube:down", "Remove what `play` of a file has made."),
        "generate": ("local.kube:generate", "Show pods and containers as Kubernetes' YAML."),
    }


@click.group(
    cls=_Group, epilog=examples("rundlet kube play guestbook.yaml", "rundlet kube down guestbook.yaml")
)
def command() -> None:
    """Pods, Deployments, Services and more from Kubernetes' YAML, without a cluster."""


@local_command(
    epilog=examples(
        "rundlet kube play guestbook.yaml",
        "rundlet kube play --replace --configmap settings.yaml app.yaml",
        "rundlet kube generate db | ssh host rundlet kube play -",
    )
)
@click.argument("file", metavar="FILE|-")
@click.option("--configmap", "config_maps", multiple=True, metavar="FILE", help="ConfigMaps from this file.")
@click.option("--network", "networks", multiple=True, metavar="NETWORK", help="The pods' network (kube).")
@click.option("--ip", "ips", multiple=True, metavar="ADDRESS", help="Address of a pod, one after the other.")
@click.option("--mac-address", "macs", multiple=True, metavar="ADDRESS", help="MAC address of a pod.")
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Of all pods.")
@click.option("--log-driver", default="k8s-file", metavar="DRIVER", help="k8s-file or none.")
@click.option("--log-opt", "log_options", multiple=True, metavar="NAME=VALUE", help="max-size=SIZE.")
@click.option("--no-hosts", is_flag=True, help="Leave images their /etc/hosts.")
@click.option("--authfile", default="", metavar="FILE", help="auth.json for pulls. [env: REGISTRY_AUTH_FILE]")
@click.option("--creds", default="", metavar="USER[:PASSWORD]", help="Credentials for pulls.")
@click.option(
    "--tls-verify", is_flag=True, default=None, help="Require HTTPS, with a certificate that verifies."
)
@click.option("--replace", is_flag=True, help="Remove what an earlier play of it has made first.")
@click.option("--start/--no-start", default=True, help="Start the containers (they are).")
@click.option("--down", "remove", is_flag=True, help="As `kube down`.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of what is pulled and made.")
@refusing("kube play")
@pass_machine
def play(machine: "Machine", file: str, config_maps: Sequence[str], remove: bool, **given: Any) -> None:
    """Make the pods of a file with all that they need, and start them.

    Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, Service, ConfigMap, Secret and
    PersistentVolumeClaim are understood.
    """
    from rundlet.kube.play import play as act

    if remove:
        _down(machine, file, force=False)
        return
    documents = _read(file)
    maps = [document for name in config_maps for document in _read(name) if document.kind == "ConfigMap"]
    try:
        with holding_signals(patience=1):  # a second ctrl-c does not cut short what is taken back
            played = act(machine, documents, _read_settings(machine, given), maps)
    except AlreadyExists as error:
        raise AlreadyExists(error.message, hint=error.hint or "--replace removes what is there") from error
    for warning in played.warnings:
        print(f"rundlet: warning: {warning}", file=sys.stderr)
    if given["quiet"]:
        return
    for pod_id, containers in played.pods.values():
        print(
            "Pod:", pod_id, "Containers:" if len(containers) > 1 else "Container:", *containers, "", sep="\n"
        )
    for title, names in (("Volumes:", played.volumes), ("Secrets:", played.secrets)):
        if names:
            print(title, *names, "", sep="\n")


def _read_settings(machine: "Machine", given: dict[str, Any]) -> "PlaySettings":
    from rundlet.cli.local.pulling import bring_image
    from rundlet.kube.play import PlaySettings
    from rundlet.local.words.life import parse_logging

    return PlaySettings(
        networks=given["networks"],
        start=given["start"],
        replace=given["replace"],
        ips=read_each("--ip", given["ips"], parse_address),
        macs=read_each("--mac-address", given["macs"], parse_mac),
        annotations=read_pairs(given["annotations"], "--annotation KEY=VALUE"),
        logging=parse_logging(given["log_driver"], given["log_options"]),
        own_hosts=given["no_hosts"],
        bring=lambda asked: bring_image(machine, asked, given),
    )


@local_command(epilog=examples("rundlet kube down guestbook.yaml"))
@click.argument("file", metavar="FILE|-")
@click.option("-f", "--force", is_flag=True, help="Remove the volumes of claims, with all data, too.")
@pass_machine
def down(machine: "Machine", file: str, force: bool) -> None:
    """Remove the pods of a file and what was made for them."""
    _down(machine, file, force=force)


def _down(machine: "Machine", file: str, *, force: bool) -> None:
    from rundlet.kube.play import down as act

    for name in act(machine, _read(file), volumes=force):
        print(name)


@local_command(epilog=examples("rundlet kube generate site", "rundlet kube generate --service db -f db.yaml"))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-f", "--filename", default="", metavar="FILE", help="Into this file, which is not there yet.")
@click.option("-s", "--service", is_flag=True, help="A Service for each that publishes ports, too.")
@pass_machine
def generate(machine: "Machine", names: Sequence[str], filename: str, service: bool) -> None:
    """Show pods and containers as Kubernetes' YAML."""
    from rundlet.kube.generate import find_group
    from rundlet.kube.generate import generate as act

    text = act([find_group(machine, name) for name in names], service=service)
    if not filename:
        print(text, end="")
        return
    with translating(f"write {filename}"), open(filename, "x", encoding="utf-8") as file:
        file.write(text)


def _read(path: str) -> "list[Document]":
    from rundlet.kube.documents import SIZE_MAX_BYTES, read_documents

    if path == "-":
        raw = sys.stdin.buffer.read(SIZE_MAX_BYTES + 1)
    elif "://" in path:
        raise InvalidArgument(
            f"{path}: expected a file", hint="fetch it first, or pipe it into `kube play -`"
        )
    else:
        with translating(f"read {path}"), open(path, "rb") as file:
            raw = file.read(SIZE_MAX_BYTES + 1)
    try:
        return read_documents(raw.decode(), path)
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path}: is no UTF-8 text") from error
