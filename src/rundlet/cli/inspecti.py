import click

from rundlet.cli.document import info_document, plain_message, print_statuses
from rundlet.cli.each import require_ids
from rundlet.cli.help import examples
from rundlet.cli.imagefilter import FILTER_HELP, list_images
from rundlet.cli.session import Session
from rundlet.cli.table import human_size
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import NotFound


def describe(image: api.Image) -> str:
    lines = [f"ID: {image.id}"]
    lines += [f"Tag: {tag}" for tag in image.repo_tags]
    lines += [f"Digest: {digest}" for digest in image.repo_digests]
    return "\n".join([*lines, f"Size: {human_size(image.size, 3)}"])


def image_status(session: Session, name: str, *, verbose: bool) -> api.ImageStatusResponse:
    """NotFound when the runtime has no such image."""
    request = api.ImageStatusRequest(image=api.ImageSpec(image=name), verbose=verbose)
    answer = session.call(session.images.ImageStatus, request)
    if not answer.HasField("image"):
        raise NotFound(f"no image {name!r}", hint="list them with: rundlet images")
    return answer


@click.command(epilog=examples("rundlet inspecti redis:alpine", "rundlet inspecti -q -o yaml 7614ae9453d1d"))
@click.argument("ids", nargs=-1, metavar="[IMAGE]...")
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "table"]), default="json", help="Format.")
@click.option("-q", "--quiet", is_flag=True, help="Without the runtime's own details.")
@click.option("--name", default="", help="Images with this name.")
@click.option("-f", "--filter", "filters", multiple=True, help=FILTER_HELP)
@click.pass_obj
def command(
    session: Session, ids: tuple[str, ...], output: str, name: str, filters: tuple[str, ...], *, quiet: bool
) -> None:
    """Show the status of images."""
    names = ids or tuple(image.id for image in list_images(session, name, filters) if name or filters)
    require_ids(names, "image, --name or --filter")
    answers = [image_status(session, item, verbose=not quiet) for item in names]
    if output == "table":
        print("\n".join(describe(answer.image) for answer in answers))
        return
    print_statuses(
        [{"status": plain_message(answer.image)} | info_document(dict(answer.info)) for answer in answers],
        output,
    )
