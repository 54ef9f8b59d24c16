"""The store's own images: listed, named and removed, without asking the daemon."""

import json
from typing import Any

import click

from rundlet.cli.image_events import note_image
from rundlet.cli.image_options import image_command, open_host
from rundlet.cli.table import format_table, human_age, human_size, short_id
from rundlet.errors import FailedPrecondition, InvalidArgument
from rundlet.image.storage import find_image, remove_image
from rundlet.spec.reference import parse_reference
from rundlet.store.images import ImageRecord

_NONE = "<none>"


@image_command("rundlet image images", "rundlet image images --format '{{.Names}} {{.Id}}'")
@click.argument("name", metavar="[NAME]", default="")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option(
    "--format", "template", default="", metavar="TEMPLATE", help="json, or a Go template per image."
)
def images(name: str, quiet: bool, digests: bool, no_trunc: bool, template: str) -> None:
    """List the store's images."""
    found = [record for record in open_host().store.images.list() if _fits(record, name)]
    if template == "json":
        print(json.dumps([_describe(record) for record in found], indent=4))
    elif template:
        from rundlet.cli.gotemplate import render_template

        for record in found:
            print(render_template(template, _describe(record)))
    elif quiet:
        print("".join(f"{record.id if no_trunc else short_id(record.id)}\n" for record in found), end="")
    else:
        print(format_table(_rows(found, digests=digests, full=no_trunc)), end="")


def _fits(record: ImageRecord, name: str) -> bool:
    if not name:
        return True
    wanted = parse_reference(name)
    names = [parse_reference(each) for each in record.names]
    whole = ":" in name.rpartition("/")[2]
    return any(each == wanted if whole else each.name == wanted.name for each in names)


def _describe(record: ImageRecord) -> dict[str, Any]:
    return {
        "Id": record.id.partition(":")[2],
        "Names": list(record.names),
        "RepoDigests": list(record.digests),
        "Digest": record.manifest_digest,
        "Size": record.size_bytes,
        "Created": record.created_at_ns // 10**9,
        "Pinned": record.pinned,
        "Labels": record.config.config.labels,
    }


def _rows(found: list[ImageRecord], *, digests: bool, full: bool) -> list[list[str]]:
    rows = [["REPOSITORY", "TAG", *["DIGEST"] * digests, "IMAGE ID", "CREATED", "SIZE"]]
    for record in found:
        created = human_age(record.created_at_ns) if record.created_at_ns else "N/A"
        tail = [*[record.manifest_digest] * digests, record.id if full else short_id(record.id)]
        tail += [created, human_size(record.size_bytes)]
        names = [each.rpartition(":")[::2] for each in record.names] or [(_find_repository(record), _NONE)]
        rows += [[name, tag, *tail] for name, tag in names]
    return rows


def _find_repository(record: ImageRecord) -> str:
    return record.digests[0].partition("@")[0] if record.digests else _NONE


@image_command("rundlet image rmi app:1", "rundlet image rmi --all")
@click.argument("names", metavar="IMAGE…", nargs=-1)
@click.option("-a", "--all", "every", is_flag=True, help="Remove all images.")
@click.option("-f", "--force", is_flag=True, help="Also those that containers were made from.")
@click.option("-i", "--ignore", is_flag=True, help="Do not mind images that are not there.")
def rmi(names: tuple[str, ...], every: bool, force: bool, ignore: bool) -> None:
    """Remove images from the store: the name that is given, and the image with its last one."""
    host = open_host()
    store = host.store
    if bool(names) == every:
        raise InvalidArgument("name images, or --all")
    for name in names or tuple(record.id for record in store.images.list()):
        if ignore and store.images.find(name) is None:
            continue
        for gone in remove_image(store, name, force=force):
            is_name = not gone.startswith("sha256:")
            note_image(host.run_root, "untag" if is_name else "remove", gone, gone if is_name else name)
            print(f"Untagged: {gone}" if is_name else f"Deleted: {gone}")


@image_command("rundlet image tag app:1 registry.example/app:2")
@click.argument("image", metavar="IMAGE")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
def tag(image: str, names: tuple[str, ...]) -> None:
    """Give an image of the store further names."""
    host = open_host()
    store = host.store
    found = find_image(store, image)
    for name in names:
        store.images.tag(found.id, name)
        note_image(host.run_root, "tag", found.id, name)


@image_command("rundlet image untag app:1", "rundlet image untag app:1 registry.example/app:2")
@click.argument("image", metavar="IMAGE")
@click.argument("names", metavar="[NAME…]", nargs=-1)
def untag(image: str, names: tuple[str, ...]) -> None:
    """Take names of an image away, all of them when none is given; the image stays."""
    host = open_host()
    store = host.store
    found = find_image(store, image)
    for name in names or found.names:
        if str(parse_reference(name)) not in found.names:
            raise FailedPrecondition(f"image {image}: it is not named {name}")
        store.images.untag(name)
        note_image(host.run_root, "untag", found.id, name)
