import click

from rundlet.cli.document import plain_message, print_document
from rundlet.cli.help import examples
from rundlet.cli.imagefilter import FILTER_HELP, list_images
from rundlet.cli.session import Session
from rundlet.cli.table import format_table, human_size, short_id
from rundlet.cri.proto import api_pb2 as api

NONE = "<none>"


def split_digest(image: api.Image) -> tuple[str, str]:
    """Repository and digest of the image's first digest reference."""
    if not image.repo_digests:
        return NONE, NONE
    name, _, digest = image.repo_digests[0].partition("@")
    return name, digest


def split_tags(image: api.Image) -> list[tuple[str, str]]:
    """(repository, tag) of every tag; the digest's repository and <none> without tags."""
    parts = [tag.rpartition(":") for tag in image.repo_tags]
    return [(name, tag) for name, _, tag in parts] or [(split_digest(image)[0], NONE)]


def table_rows(images: list[api.Image], *, digests: bool, pinned: bool, full: bool) -> list[list[str]]:
    """The header and a row for every tag."""
    rows = [["IMAGE", "TAG", *["DIGEST"] * digests, "IMAGE ID", "SIZE", *["PINNED"] * pinned]]
    for image in images:
        shown = (lambda text: text) if full else short_id
        digest, id = shown(split_digest(image)[1]), shown(image.id)
        tail = [*[digest] * digests, id, human_size(image.size, 3), *[str(image.pinned).lower()] * pinned]
        rows += [[name, tag, *tail] for name, tag in split_tags(image)]
    return rows


def describe(image: api.Image) -> str:
    """The block that --verbose shows."""
    lines = [f"ID: {image.id}"]
    lines += [f"RepoTags: {tag}" for tag in image.repo_tags]
    lines += [f"RepoDigests: {digest}" for digest in image.repo_digests]
    lines += [f"Size: {image.size}"] if image.size else []
    lines += [f"Uid: {image.uid.value}"] if image.HasField("uid") else []
    lines += [f"Username: {image.username}"] if image.username else []
    lines += ["Pinned: true"] if image.pinned else []
    return "\n".join([*lines, ""])


@click.command(
    epilog=examples("rundlet images", "rundlet images --digests redis", "rundlet images -q -f dangling=true")
)
@click.argument("image", metavar="[REPOSITORY[:TAG]]", default="")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Format.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("-v", "--verbose", is_flag=True, help="All details of every image.")
@click.option("--digests", is_flag=True, help="Show digests.")
@click.option("--pinned", is_flag=True, help="Show whether an image is pinned.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids and digests.")
@click.option("-f", "--filter", "filters", multiple=True, help=FILTER_HELP)
@click.pass_obj
def command(
    session: Session,
    image: str,
    output: str,
    filters: tuple[str, ...],
    *,
    quiet: bool,
    verbose: bool,
    digests: bool,
    pinned: bool,
    no_trunc: bool,
) -> None:
    """List images."""
    found = list_images(session, image, filters)
    if output != "table":
        print_document(plain_message(api.ListImagesResponse(images=found)), output)
    elif quiet:
        print("".join(f"{item.id}\n" for item in found), end="")
    elif verbose:
        print("".join(f"{describe(item)}\n" for item in found), end="")
    else:
        print(format_table(table_rows(found, digests=digests, pinned=pinned, full=no_trunc)), end="")
