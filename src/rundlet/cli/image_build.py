"""Images without a Dockerfile: from programs, from directories, from bundles, from other images."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import click

from rundlet.cli.image_options import Command, image_command, open_host
from rundlet.errors import InvalidArgument
from rundlet.image.change import CLEARABLE, Change, HistoryEntry, format_time
from rundlet.image.location import TRANSPORTS, Location, parse_location
from rundlet.image.place import open_destination, open_source
from rundlet.image.transport import Destination, Source
from rundlet.spec.digest import Digest

# Who wants no line in the history: a line without a time (see `image.build`).
_NO_HISTORY = HistoryEntry("")


def locate(text: str) -> Location:
    """ "transport:details", else a layout as umoci names it: PATH[:TAG], where the tag is "latest"."""
    if text.partition(":")[0] in TRANSPORTS:
        return parse_location(text)
    path, colon, tag = text.rpartition(":")
    return parse_location(f"oci:{path}:{tag}" if colon else f"oci:{text}:latest")


def _decorate(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    for option in reversed(tuple(options)):
        command = option(command)
    return command


def history_options(command: Command) -> Command:
    return _decorate(
        command,
        (
            click.option("--no-history", is_flag=True, help="Add no line to the image's history."),
            click.option("--history.author", "history_author", default="", help="Author of that line."),
            click.option("--history.comment", "history_comment", default="", help="Its comment."),
            click.option(
                "--history.created", "history_created", default="", help="Its time (SOURCE_DATE_EPOCH)."
            ),
            click.option("--history.created_by", "history_created_by", default="", help="What it says."),
        ),
    )


def take_history(given: dict[str, Any]) -> HistoryEntry | None:
    """The values of `history_options`, taken out of `given`."""
    from rundlet.image.packing import read_source_date_s

    author, comment, created, created_by = (
        given.pop(f"history_{name}") for name in ("author", "comment", "created", "created_by")
    )
    if given.pop("no_history"):
        return _NO_HISTORY
    return HistoryEntry(created or format_time(read_source_date_s()), created_by, author, comment)


def change_options(command: Command) -> Command:
    """`umoci config`'s."""
    many: dict[str, Any] = {"multiple": True}
    return _decorate(
        command,
        (
            click.option("--config.user", "user", default=None, help="USER[:GROUP] of the process."),
            click.option("--config.workingdir", "working_dir", default=None, help="Its directory."),
            click.option("--config.stopsignal", "stop_signal", default=None, help="What stops it."),
            click.option("--config.entrypoint", "entrypoint", **many, help="A word of the entrypoint."),
            click.option("--config.cmd", "cmd", **many, help="A word of the command."),
            click.option("--config.env", "env", **many, metavar="NAME=VALUE", help="A variable."),
            click.option("--config.label", "labels", **many, metavar="NAME=VALUE", help="A label."),
            click.option("--config.volume", "volumes", **many, metavar="PATH", help="A volume."),
            click.option("--config.exposedports", "exposed_ports", **many, help="PORT[/PROTOCOL]."),
            click.option("--created", default="", help="When the image was made (RFC 3339)."),
            click.option("--author", default="", help="Who made it."),
            click.option("--architecture", default="", help="What it runs on."),
            click.option("--os", "os_name", default="", help="What it runs on."),
            click.option("--manifest.annotation", "annotations", **many, metavar="NAME=VALUE", help="An annotation."),
            click.option("--clear", **many, type=click.Choice(list(CLEARABLE)), help="Empty this first."),
        ),
    )  # fmt: skip


def take_change(given: dict[str, Any]) -> Change:
    """The values of `change_options` and `history_options`, taken out of `given`."""
    fields = {
        "created": given.pop("created"),
        "author": given.pop("author"),
        "architecture": given.pop("architecture"),
        "os": given.pop("os_name"),
    }
    return Change(
        user=given.pop("user"),
        working_dir=given.pop("working_dir"),
        stop_signal=given.pop("stop_signal"),
        entrypoint=given.pop("entrypoint") or None,
        cmd=given.pop("cmd") or None,
        env=given.pop("env"),
        labels=_pairs(given.pop("labels")),
        volumes=given.pop("volumes"),
        exposed_ports=given.pop("exposed_ports"),
        fields={key: value for key, value in fields.items() if value},
        annotations=_pairs(given.pop("annotations")),
        clear=given.pop("clear"),
        history=take_history(given),
    )


def _pairs(texts: Iterable[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f"{text!r}: expected NAME=VALUE")
        found[name] = value
    return found


image_option = click.option(
    "--image", required=True, metavar="IMAGE", help="TRANSPORT:DETAILS, or a layout's PATH[:TAG]."
)
tag_option = click.option("--tag", default="", help="The new image's tag; without it the image is replaced.")


def open_pair(image: str, tag: str = "") -> tuple[Source, Destination]:
    """The image, and where the changed one goes; both are closed when the command ends."""
    host, location = open_host(), locate(image)
    source = open_source(host, location)
    click.get_current_context().call_on_close(source.close)
    if tag and location.transport not in {"oci", "oci-archive"}:
        raise InvalidArgument(f"{location}: --tag is for layouts")
    target = location._replace(name=tag, position=-1) if tag else location
    return source, open_destination(host, target)


def say(digest: Digest) -> None:
    print(digest)


# --- from nothing ---------------------------------------------------------------


@image_command("rundlet image from-host --tag oci:/srv/tools:1 redis-server busybox")
@click.argument("programs", metavar="PROGRAM…", nargs=-1, required=True)
@click.option("-t", "--tag", required=True, metavar="IMAGE", help="Where the image goes.")
@click.option("--cmd", multiple=True, help="A word of what it runs; the first program without it.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of its process.")
@click.option("--workdir", default="/", help="Directory of its process.")
def from_host(
    programs: tuple[str, ...], tag: str, cmd: tuple[str, ...], env: tuple[str, ...], workdir: str
) -> None:
    """Make an image of programs of this machine, with the libraries that they load."""
    import tempfile

    from rundlet.image.api import copy_image
    from rundlet.image.fromhost import build_host_image
    from rundlet.image.layout import Layout

    host = open_host()
    with tempfile.TemporaryDirectory(prefix="rundlet-image-", dir=host.temporary) as directory:
        descriptor = build_host_image(
            programs, Layout(directory), "image", cmd=cmd, env=env, working_dir=workdir
        )
        copy_image(host, f"oci:{directory}:image", locate(tag))
    print(descriptor.digest)


@image_command("rundlet image from-dir ./rootfs --tag oci:/srv/app:1 --config.cmd /bin/app")
@click.argument("directory", metavar="DIRECTORY")
@click.option("-t", "--tag", required=True, metavar="IMAGE", help="Where the image goes.")
@click.option("--keep-owners", is_flag=True, help="Files belong to whom they belong here, not to root.")
@change_options
@history_options
def from_dir(directory: str, tag: str, keep_owners: bool, **given: Any) -> None:
    """Make an image of a directory; times are SOURCE_DATE_EPOCH's, 1970 without it."""
    from rundlet.image.build import Build, build_from_directory

    host = open_host()
    change = take_change(given)
    build = Build(host.temporary, keep_owners)
    say(build_from_directory(directory, open_destination(host, locate(tag)), change, build=build))


# --- from an image --------------------------------------------------------------


@image_command("rundlet image config --image layout:1 --tag 2 --config.user nobody")
@image_option
@tag_option
@change_options
@history_options
def config(image: str, tag: str, **given: Any) -> None:
    """Change an image's configuration, as `umoci config` does."""
    from rundlet.image.build import configure

    say(configure(*open_pair(image, tag), take_change(given)))


@image_command(
    "rundlet image insert --image layout:1 ./app /usr/bin/app",
    "rundlet image insert --image layout:1 --whiteout /etc/motd",
)
@click.argument("paths", metavar="[SOURCE] TARGET", nargs=-1, required=True)
@image_option
@tag_option
@click.option("--opaque", is_flag=True, help="In place of all that was in TARGET.")
@click.option("--whiteout", is_flag=True, help="Take TARGET away.")
@click.option("--keep-owners", is_flag=True, help="Files belong to whom they belong here, not to root.")
@history_options
def insert(
    paths: tuple[str, ...],
    image: str,
    tag: str,
    opaque: bool,
    whiteout: bool,
    keep_owners: bool,
    **given: Any,
) -> None:
    """Put a file or directory into an image, or take a path away, as `umoci insert` does."""
    from rundlet.image import build

    if len(paths) != 2 - whiteout or (opaque and whiteout):
        raise InvalidArgument("give SOURCE and TARGET, or --whiteout and TARGET")
    source, destination = open_pair(image, tag)
    change, how = Change(history=take_history(given)), build.Build(keep_owners=keep_owners)
    if whiteout:
        say(build.remove(source, destination, paths[0], change, build=how))
    else:
        path, target = paths
        say(build.insert(source, destination, path, target, change, opaque=opaque, build=how))


@image_command("rundlet image add-layer --image layout:1 layer.tar")
@click.argument("archive", metavar="ARCHIVE")
@image_option
@tag_option
@history_options
def add_layer(archive: str, image: str, tag: str, **given: Any) -> None:
    """Put a tar on top of an image as it is, as `umoci raw add-layer` does."""
    from rundlet.image import build

    say(build.add_layer(*open_pair(image, tag), archive, Change(history=take_history(given))))


# --- bundles --------------------------------------------------------------------


@image_command("rundlet image unpack --image layout:1 bundle")
@click.argument("bundle", metavar="BUNDLE")
@image_option
def unpack(bundle: str, image: str) -> None:
    """Unpack an image into a bundle, as `umoci unpack` does."""
    from rundlet.image.bundle import unpack_bundle
    from rundlet.oci.spec import example

    source = open_source(open_host(), locate(image))
    click.get_current_context().call_on_close(source.close)
    say(unpack_bundle(source, bundle, example(rootless=os.geteuid() != 0)))


@image_command("rundlet image repack --image layout:2 bundle")
@click.argument("bundle", metavar="BUNDLE")
@image_option
@click.option("--mask-path", multiple=True, metavar="PATH", help="Leave what is below PATH as it was.")
@click.option("--no-mask-volumes", is_flag=True, help="Look at the image's volumes, too.")
@click.option("--refresh-bundle", is_flag=True, help="Make the bundle one of the new image.")
@history_options
def repack(
    bundle: str,
    image: str,
    mask_path: tuple[str, ...],
    no_mask_volumes: bool,
    refresh_bundle: bool,
    **given: Any,
) -> None:
    """Put what was changed in a bundle on top of its image, as `umoci repack` does."""
    from rundlet.image.bundle import repack_bundle

    say(
        repack_bundle(
            *open_pair(image),
            bundle,
            Change(history=take_history(given)),
            masked=mask_path,
            mask_volumes=not no_mask_volumes,
            refresh=refresh_bundle,
        )
    )
