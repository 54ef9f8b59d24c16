"""`--filter` of images: dangling=, reference=, before=, since=."""

from collections.abc import Sequence

from rundlet.cli.select import compile_pattern
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument, NotFound

FILTER_HELP = (
    "dangling=true|false, reference=REGEX, before=IMAGE or since=IMAGE (name, id or digest); may be repeated."
)


def _sort_key(image: api.Image) -> tuple[str, str]:
    names = [*image.repo_tags, *image.repo_digests]
    return (names[0] if names else "", image.id)


def list_images(session: Session, name: str, filters: Sequence[str]) -> list[api.Image]:
    """Images by name, cut by every filter in turn."""
    filter = api.ImageFilter(image=api.ImageSpec(image=name)) if name else None
    answer = session.call(session.images.ListImages, api.ListImagesRequest(filter=filter))
    images = sorted(answer.images, key=_sort_key)
    for text in filters:
        images = apply_filter(images, text)
    return images


def apply_filter(images: list[api.Image], text: str) -> list[api.Image]:
    """InvalidArgument for a filter that does not exist, NotFound for an image that none is."""
    kind, _, value = text.partition("=")
    if kind == "dangling" and value in ("true", "false"):
        return [image for image in images if bool(image.repo_tags) == (value == "false")]
    if kind == "reference":
        pattern = compile_pattern(value, "--filter reference")
        return [
            image for image in images if any(map(pattern.search, [*image.repo_tags, *image.repo_digests]))
        ]
    if kind in ("before", "since"):
        place = _position(images, value)
        return images[:place] if kind == "since" else images[place + 1 :]
    raise InvalidArgument(f"--filter: unknown filter {text!r}", hint=FILTER_HELP)


def _position(images: list[api.Image], name: str) -> int:
    """CRI gives images no age: before and since go by the order of the list, as crictl's do."""
    for index, image in enumerate(images):
        names = [*image.repo_tags, *image.repo_digests]
        if name in names or image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:")):
            return index
    raise NotFound(f"--filter: no image {name!r} in the list")
