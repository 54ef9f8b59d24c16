"""Between archives and the store: `docker save` and `docker load`, also as OCI archives."""

import click

from rundlet.cli.image_events import note_image
from rundlet.cli.image_options import image_command, open_host
from rundlet.cli.image_progress import watching
from rundlet.image.location import STREAMS
from rundlet.image.saving import KINDS, load_images, save_images
from rundlet.image.storage import find_image


@image_command(
    "rundlet image save -o app.tar app:1",
    "rundlet image save -o both.tar app:1 redis:alpine",
    "rundlet image save --format oci-archive app:1 | ssh host …",
)
@click.argument("images", metavar="IMAGE…", nargs=-1, required=True)
@click.option("-o", "--output", default="-", metavar="FILE", help="Write there; stdout without it.")
@click.option(
    "--format", "kind", type=click.Choice(KINDS), default="docker-archive", help="Kind of the archive."
)
@click.option(
    "-m", "--multi-image-archive", "_several", is_flag=True, hidden=True, help="Always: several may be given."
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def save(images: tuple[str, ...], output: str, kind: str, quiet: bool, _several: bool) -> None:
    """Write images of the store to one archive; what they share is in it once."""
    with watching("auto", quiet=quiet or output in STREAMS) as watch:
        host = open_host()
        save_images(host, images, output, kind, watch=watch)
    for image in images:
        note_image(host.run_root, "save", find_image(host.store, image).id, image)


@image_command("rundlet image load -i app.tar", "docker save app:1 | rundlet image load")
@click.option(
    "-i", "--input", "source", default="-", metavar="FILE", help="Read from there; stdin without it."
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def load(source: str, quiet: bool) -> None:
    """Read the images of an archive (of `docker save`, or an OCI one) into the store."""
    with watching("auto", quiet=quiet) as watch:
        host = open_host()
        for names in load_images(host, source, watch=watch):
            for name in names:
                note_image(host.run_root, "loadfromarchive", find_image(host.store, name).id, name)
            print(f"Loaded image: {', '.join(names)}")
