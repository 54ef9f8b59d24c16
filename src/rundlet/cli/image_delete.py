from typing import Any

import click

from rundlet.cli.image_options import access_options, image_command, locate, open_host, read_access
from rundlet.image.api import delete_image
from rundlet.image.retry import retrying


@image_command(
    "rundlet image delete docker://registry.example/a/b:1",
    "rundlet image delete --dry-run docker://registry.example/a/b:1",
)
@click.argument("image", metavar="IMAGE-NAME")
@click.option("--retry-times", type=click.IntRange(min=0), default=0, help="Further attempts.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@access_options()
def command(image: str, retry_times: int, dry_run: bool, **given: Any) -> None:
    """Delete an image from a registry, with all its tags; from the store by its name."""
    access, location, host = read_access(given), locate(image), open_host()
    if dry_run:
        print(f"DELETE {location}")
        return
    retrying(lambda: delete_image(host, location, access=access), retry_times)
