"""`system prune`: what nobody needs any more, of all kinds.

--filter label=KEY[=VALUE]   only with that label      label!=KEY[=VALUE]   only without
--filter until=TIME          only what was made before
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import local_containers, pass_machine
from rundlet.cli.local.nouns import confirm, matches_labels
from rundlet.cli.logsince import parse_since
from rundlet.cli.table import human_size
from rundlet.errors import Error, InvalidArgument
from rundlet.local.words.numbers import split_pair, suggest

if TYPE_CHECKING:
    from rundlet.local.machine import Machine

_KEYS = ("label", "label!", "until")
_STOPPED = ("created", "exited", "unknown")


class _Object(NamedTuple):
    """Something that may go; `remove` raises when it is in use after all."""

    name: str
    labels: Mapping[str, str]
    created_at_ns: int
    remove: Callable[[], object]
    size_bytes: int = 0


@local_command(
    epilog=examples(
        "rundlet system prune",
        "rundlet system prune --force --all --volumes",
        "rundlet system prune --force --filter until=24h",
    )
)
@click.option(
    "-a", "--all", "every", is_flag=True, help="Every image that no container is of, not only nameless ones."
)
@click.option("--filter", "filters", multiple=True, metavar="KEY=VALUE", help="label=, label!=, until=.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--volumes", is_flag=True, help="Volumes too that no container has.")
@pass_machine
def command(machine: "Machine", every: bool, filters: Sequence[str], force: bool, volumes: bool) -> None:
    """Remove pods and containers that have ended, networks without containers, images that nobody needs."""
    matches = _make_filter(filters)
    if not force:
        kinds = "pods and containers that have ended, unused networks and images"
        if not confirm(f"This removes all {kinds}{' and volumes' if volumes else ''}. Go on?"):
            return
    freed = _remove("Pods", _list_pods(machine), matches)
    freed += _remove("Containers", _list_containers(machine), matches)
    if volumes:
        freed += _remove("Volumes", _list_volumes(machine), matches)
    freed += _remove("Images", _list_images(machine, every=every), matches)
    freed += _remove("Networks", _list_networks(machine), matches)
    print(f"Total reclaimed space: {human_size(freed, 4)}")


def _make_filter(texts: Sequence[str]) -> Callable[[_Object], bool]:
    """All must hold.  Raises InvalidArgument."""
    wanted: list[tuple[str, str]] = []
    for text in texts:
        key, value = split_pair(text, "--filter KEY=VALUE")
        if key not in _KEYS:
            raise InvalidArgument(f"--filter {text}: unknown key {key!r}", hint=suggest(key, _KEYS))
        wanted.append((key, value))
    now_ns = time.time_ns()
    before_ns = min((parse_since(value, now_ns) for key, value in wanted if key == "until"), default=now_ns)
    has = [value for key, value in wanted if key == "label"]
    lacks = [value for key, value in wanted if key == "label!"]
    return lambda found: (
        found.created_at_ns <= before_ns
        and matches_labels(found.labels, has)
        and not any(matches_labels(found.labels, [value]) for value in lacks)
    )


def _remove(kind: str, objects: Iterator[_Object], matches: Callable[[_Object], bool]) -> int:
    """Bytes that are free now; what is in use after all stays."""
    freed = 0
    told = False
    for found in filter(matches, list(objects)):
        try:
            found.remove()
        except Error:
            continue
        if not told:
            print(f"Deleted {kind}")
            told = True
        print(found.name)
        freed += found.size_bytes
    return freed


def _list_pods(machine: "Machine") -> Iterator[_Object]:
    for pod in machine.pods.list():
        if pod.state in ("Exited", "Stopped"):
            yield _Object(pod.id, pod.labels, pod.created_at_ns, partial(machine.pods.remove, pod.name))


def _list_containers(machine: "Machine") -> Iterator[_Object]:
    for found in local_containers(machine, _STOPPED):
        yield _Object(
            found.id,
            found.labels,
            found.created_at_ns,
            partial(machine.containers.remove, found.id, volumes=True),
            machine.engine.containers.usage(found.id)[0],
        )


def _list_volumes(machine: "Machine") -> Iterator[_Object]:
    from rundlet.local.measure import measure_tree

    for volume in machine.volumes.list():
        if not volume.users:
            yield _Object(
                volume.name,
                volume.labels,
                volume.created_at_ns,
                partial(machine.volumes.remove, volume.name),
                measure_tree(volume.path),
            )


def _list_images(machine: "Machine", *, every: bool) -> Iterator[_Object]:
    used = {found.image_id for found in local_containers(machine)}
    for record in machine.engine.images.list():
        if record.id not in used and not record.pinned and (every or not record.names):
            yield _Object(
                record.id.removeprefix("sha256:"),
                record.config.config.labels or {},
                record.created_at_ns,
                partial(machine.engine.images.remove, record.id),
                record.size_bytes,
            )


def _list_networks(machine: "Machine") -> Iterator[_Object]:
    from rundlet.network.named import DEFAULT_NETWORK

    for network in machine.networks.list():
        if not network.users and network.name != DEFAULT_NETWORK:
            record = network.record
            yield _Object(
                network.name,
                record.labels,
                record.created_at_ns,
                partial(machine.networks.remove, network.name),
            )
