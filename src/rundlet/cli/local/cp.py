"""`cp`: between a running container and this machine, or through a tar on stdin and stdout (`-`)."""

import os
import sys
import tempfile
from typing import IO, TYPE_CHECKING

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import pass_machine
from rundlet.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from rundlet.local.machine import Machine


@local_command(
    epilog=examples(
        "rundlet cp db:/data/dump.rdb .",
        "rundlet cp redis.conf db:/etc/redis.conf",
        "rundlet cp - db:/srv < site.tar",
    )
)
@click.argument("source", metavar="[CONTAINER:]SOURCE")
@click.argument("target", metavar="[CONTAINER:]TARGET")
@click.option(
    "-a", "--archive", is_flag=True, default=True, hidden=True, help="The owner is root's of the container."
)
@click.option("--overwrite", is_flag=True, help="Also a directory by what is none.")
@pass_machine
def command(machine: "Machine", source: str, target: str, archive: bool, overwrite: bool) -> None:  # noqa: ARG001
    """Copy a file or a tree into or out of a container; a directory that is there takes it in."""
    from_name, from_path = split_place(source)
    to_name, to_path = split_place(target)
    if bool(from_name) == bool(to_name):
        raise InvalidArgument("exactly one side must be in a container", hint="write it as CONTAINER:PATH")
    if from_name:
        _copy_out(machine, machine.containers.get(from_name).id, from_path, to_path)
    else:
        _copy_in(machine, from_path, machine.containers.get(to_name).id, to_path)


def split_place(text: str) -> tuple[str, str]:
    """The container and the path; no container for a path of this machine (a colon in it stands behind a / or .)."""
    name, colon, path = text.partition(":")
    if not colon or "/" in name or name.startswith("."):
        return "", text
    return name, path or "/"


def _copy_out(machine: "Machine", container_id: str, path: str, target: str) -> None:
    from rundlet.archive.apply import apply_layer
    from rundlet.local.copying import pack_path

    if target == "-":
        pack_path(machine.engine, container_id, path, sys.stdout.buffer)
        return
    contents = path.endswith("/.")
    with tempfile.TemporaryFile() as spool:
        pack_path(machine.engine, container_id, path, spool, contents=contents)
        spool.seek(0)
        if os.path.isdir(target):
            apply_layer(spool, target, devices=False, marks=False, owners=False)
        else:
            _unpack_as(spool, target, contents=contents)


def _unpack_as(spool: IO[bytes], target: str, *, contents: bool) -> None:
    """What the tar has, under another name."""
    from rundlet.archive.apply import apply_layer

    parent = os.path.dirname(os.path.abspath(target))
    if not os.path.isdir(parent):
        raise NotFound(f"no directory {parent}")
    if target.endswith("/") and not contents:
        raise NotFound(f"no directory {target}")
    with tempfile.TemporaryDirectory(prefix=".rundlet-cp-", dir=parent) as directory:
        apply_layer(spool, directory, devices=False, marks=False, owners=False)
        if contents:
            os.rename(directory, target)
            os.mkdir(directory)  # what the context removes
            return
        (name,) = os.listdir(directory)
        os.replace(os.path.join(directory, name), target)


def _copy_in(machine: "Machine", path: str, container_id: str, target: str) -> None:
    from rundlet.local.copying import list_directory, unpack_into

    if path == "-":
        unpack_into(machine.engine, container_id, target, sys.stdin.buffer)
        return
    if not os.path.lexists(path):
        raise NotFound(f"no file {path}")
    try:
        list_directory(machine.engine, container_id, target)
    except (NotFound, InvalidArgument):
        directory, name = os.path.split(target.rstrip("/"))
        if target.endswith("/") and not os.path.isdir(path):
            raise NotFound(f"no directory {target} in the container") from None
    else:
        directory, name = target, "" if path.endswith("/.") else os.path.basename(os.path.abspath(path))
    with tempfile.TemporaryFile() as spool:
        _pack(path, name, spool)
        spool.seek(0)
        unpack_into(machine.engine, container_id, directory or "/", spool)


def _pack(path: str, name: str, out: IO[bytes]) -> None:
    """A tar of the file or tree, whose top has this name ("": only what is in it)."""
    import tarfile

    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        if name:
            archive.add(path, arcname=name)
            return
        for entry in sorted(os.listdir(path)):
            archive.add(os.path.join(path, entry), arcname=entry)
