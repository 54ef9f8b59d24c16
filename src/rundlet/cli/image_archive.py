"""Between archives and the store: `docker save` and `docker load`, also as OCI archives."""

import click

from rundlet.cli.image_copying import Job, run_job
from rundlet.cli.image_options import image_command, open_host
from rundlet.image.location import Location
from rundlet.image.storage import find_image, name_in_full
from rundlet.spec.reference import parse_reference


@image_command(
    "rundlet image save -o app.tar app:1", "rundlet image save --format oci-archive app:1 | ssh host …"
)
@click.argument("image", metavar="IMAGE")
@click.option("-o", "--output", default="-", metavar="FILE", help="Write there; stdout without it.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["docker-archive", "oci-archive", "oci-dir", "docker-dir"]),
    default="docker-archive",
    help="Kind of the archive.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def save(image: str, output: str, kind: str, quiet: bool) -> None:
    """Write an image of the store to an archive."""
    host = open_host()
    found = find_image(host.store, image)
    asked = [name for name in found.names if name == name_in_full(image)]
    name = next(iter((*asked, *found.names)), "")
    target = {
        "docker-archive": Location(kind, output, reference=parse_reference(name) if name else None),
        "oci-archive": Location(kind, output, name=name),
        "oci-dir": Location("oci", output, name=name),
        "docker-dir": Location("dir", output),
    }[kind]
    run_job(host, Job(Location("containers-storage", name=image), target, quiet=quiet or target.streamed))


@image_command("rundlet image load -i app.tar", "docker save app:1 | rundlet image load")
@click.option(
    "-i", "--input", "source", default="-", metavar="FILE", help="Read from there; stdin without it."
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def load(source: str, quiet: bool) -> None:
    """Read the images of an archive (of `docker save`, or an OCI one) into the store."""
    import tempfile

    from rundlet.image.contents import keep_stream, list_archive

    host = open_host()
    with tempfile.TemporaryDirectory(prefix="rundlet-", dir=host.temporary) as directory:
        found = list_archive(keep_stream(source, directory), host.temporary)
        for number, (location, names) in enumerate(found):
            first, *others = names or (f"localhost/loaded:{number}",)
            run_job(host, Job(location, Location("containers-storage", name=first), quiet=quiet))
            for name in others:
                host.store.images.tag(find_image(host.store, first).id, name)
            print(f"Loaded image: {', '.join((first, *others))}")
