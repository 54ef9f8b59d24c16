import json
from typing import Any

import click

from rundlet.cli.image_options import access_options, image_command, open_host, read_access
from rundlet.errors import InvalidArgument
from rundlet.image.api import list_tags
from rundlet.image.location import Location, parse_docker_name, parse_location
from rundlet.image.retry import retrying


@image_command(
    "rundlet image list-tags docker://quay.io/a/b",
    "rundlet image list-tags docker-archive:/srv/images.tar",
)
@click.argument("image", metavar="REPOSITORY-NAME")
@click.option("--retry-times", type=click.IntRange(min=0), default=0, help="Further attempts.")
@access_options(daemon=False)
def command(image: str, retry_times: int, **given: Any) -> None:
    """List the tags of a repository, or the names of an archive's images."""
    access, location = read_access(given), _locate_repository(image)
    host = open_host()
    tags = retrying(lambda: list_tags(host, location, access=access), retry_times)
    document: dict[str, Any] = {"Repository": location.reference.name} if location.reference else {}
    print(json.dumps({**document, "Tags": tags}, indent=4, ensure_ascii=False))


def _locate_repository(text: str) -> Location:
    if not text.startswith("docker://"):
        return parse_location(text)
    location = parse_docker_name(text.removeprefix("docker:"), default_tag=False)
    if location.reference and (location.reference.tag or location.reference.digest):
        raise InvalidArgument(f"{location}: a repository has neither tag nor digest")
    return location
