import click

from rundlet.cli.each import require_ids, run_each
from rundlet.cli.help import examples
from rundlet.cli.inspecti import image_status
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


def used_images(session: Session) -> set[str]:
    """Ids of images that containers were made from."""
    answer = session.call(session.runtime.ListContainers, api.ListContainersRequest())
    names = {container.image_id or container.image.image for container in answer.containers}
    requests = [api.ImageStatusRequest(image=api.ImageSpec(image=name)) for name in names if name]
    return {session.call(session.images.ImageStatus, request).image.id for request in requests}


def candidates(session: Session, *, prune: bool) -> tuple[str, ...]:
    """All images; with `prune` neither pinned nor used ones."""
    images = session.call(session.images.ListImages, api.ListImagesRequest()).images
    kept = used_images(session) if prune else set()
    return tuple(image.id for image in images if image.id not in kept and not (prune and image.pinned))


def remove_image(session: Session, name: str) -> str:
    """One "Deleted: NAME" line for every name that went; CRI removes all tags of an image."""
    image = image_status(session, name, verbose=False).image
    session.call(session.images.RemoveImage, api.RemoveImageRequest(image=api.ImageSpec(image=name)))
    return "\n".join(f"Deleted: {gone}" for gone in image.repo_tags or image.repo_digests or [image.id])


@click.command(epilog=examples("rundlet rmi redis:alpine", "rundlet rmi --prune", "rundlet rmi --all"))
@click.argument("ids", nargs=-1, metavar="[IMAGE]...")
@click.option("-a", "--all", "all_images", is_flag=True, help="Remove all images.")
@click.option("-q", "--prune", is_flag=True, help="Remove all images that no container uses.")
@click.pass_obj
def command(session: Session, ids: tuple[str, ...], *, all_images: bool, prune: bool) -> None:
    """Remove images, by name, id or digest.

    The CRI removes an image with all its tags, whichever of them is named.
    """
    if all_images or prune:
        ids += candidates(session, prune=prune)
    else:
        require_ids(ids, "image, --all or --prune")
    run_each(tuple(dict.fromkeys(ids)), lambda name: remove_image(session, name))
