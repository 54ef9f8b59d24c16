"""From a command line to a container: the image first, then one piece of work that ctrl-c does not cut in two."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from rundlet.cli.interrupts import holding_signals, interrupted_afterwards
from rundlet.cli.local.runflags import NEW_POD, read_run_options
from rundlet.errors import AlreadyExists, InvalidArgument, NotFound
from rundlet.kernel.failure import translating

if TYPE_CHECKING:
    from rundlet.local.machine import Machine
    from rundlet.local.options import RunOptions


def parse_run(given: dict[str, Any], words: Sequence[str]) -> "RunOptions":
    asked = read_run_options(given, words)
    if given["replace"] and not asked.name:
        raise InvalidArgument("--replace needs --name")
    if given["cidfile"] and os.path.exists(given["cidfile"]):
        raise AlreadyExists(
            f"--cidfile {given['cidfile']}: the file exists already", hint="is that container still there?"
        )
    return asked


@contextmanager
def making(machine: "Machine", asked: "RunOptions", given: dict[str, Any]) -> Iterator[str]:
    """The id of a new container, which is kept when the block ends well.

    `--pod new:NAME` makes the pod too, id files are written.  Interrupted or failed, nothing is left.
    """
    with holding_signals(patience=0), ExitStack() as undo:  # impatient ctrl-c does not leave that half done
        with interrupted_afterwards():
            yield _make(machine, asked, given, undo)
        undo.pop_all()


def _make(machine: "Machine", asked: "RunOptions", given: dict[str, Any], undo: ExitStack) -> str:
    if given["replace"]:
        _remove_old(machine, asked.name)
    if asked.pod.startswith(NEW_POD):
        asked = _make_pod(machine, asked, undo)
    undo.callback(machine.volumes.remove_all, _list_new_volumes(machine, asked))
    container_id = machine.containers.create(asked)
    undo.callback(_discard, machine, container_id)
    if given["cidfile"]:
        _write_file(given["cidfile"], container_id, undo)
    if given["pidfile"]:
        _write_file(given["pidfile"], str(machine.containers.get(container_id).pid), undo)
    return container_id


def _list_new_volumes(machine: "Machine", asked: "RunOptions") -> list[str]:
    """Named ones that will be made; they belong to whoever uses them first, unless it comes to nothing."""
    names = [mount.source for mount in asked.mounts if mount.kind == "volume" and mount.source]
    return [name for name in names if not machine.volumes.exists(name)]


def _discard(machine: "Machine", container_id: str) -> None:
    try:
        machine.containers.remove(container_id, force=True)
    except NotFound:
        pass


def _remove_old(machine: "Machine", name: str) -> None:
    try:
        machine.containers.remove(name, force=True)
    except NotFound:
        pass


def _make_pod(machine: "Machine", asked: "RunOptions", undo: ExitStack) -> "RunOptions":
    """The pod has the ports and the network, which its containers share."""
    from rundlet.local.options import NetworkChoice, PodRequest

    name = asked.pod.removeprefix(NEW_POD)
    pods = machine.pods
    pod_id = pods.create(
        PodRequest(name=name, ports=asked.ports, network=asked.network, dns=asked.dns, hosts=asked.hosts)
    )
    undo.callback(pods.remove, pod_id, force=True)
    return replace(asked, pod=pod_id, ports=(), network=NetworkChoice(), hosts=())


def _write_file(path: str, text: str, undo: ExitStack) -> None:
    with translating(f"write {path}"), open(path, "w", encoding="utf-8") as file:
        undo.callback(os.unlink, path)
        file.write(text)
