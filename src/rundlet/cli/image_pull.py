"""Between registries and the store: `copy` with one side given."""

from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.ask import choose
from rundlet.cli.image_copying import Job, copying_options, make_signer, read_options, read_packing, run_job
from rundlet.cli.image_events import note_image
from rundlet.cli.image_options import access_options, image_command, open_host, read_access
from rundlet.image.location import TRANSPORTS, Location, parse_docker_name, parse_location
from rundlet.image.place import Access
from rundlet.image.storage import find_image

if TYPE_CHECKING:
    from rundlet.registry.access import Registries
    from rundlet.spec.reference import Reference


@image_command(
    "rundlet image pull redis:alpine",
    "rundlet image pull --platform linux/arm64 quay.io/a/b:1",
    "rundlet image pull docker-archive:/srv/b.tar",
)
@click.argument("image", metavar="NAME[:TAG|@DIGEST]")
@copying_options
@access_options()
def pull(image: str, **given: Any) -> None:
    """Copy an image from a registry, or from TRANSPORT:DETAILS, into the store."""
    host = open_host()
    access = read_access(given)
    registries = host.registries(access)
    chosen = _choose(registries, image)
    source = Location("docker", reference=chosen) if chosen else _locate(registries, image, access)
    name = str(source.reference) if source.reference else source.name or "localhost/image:latest"
    target = Location("containers-storage", name=name)
    job = _make_job(source, target, given)._replace(source_access=access)
    result = run_job(host, job, given["digestfile"])
    if chosen and result is not None:
        registries.record_choice(image, chosen)
    if result is not None:
        found = find_image(host.store, name)
        note_image(host.run_root, "pull", found.id, name)
        if not job.quiet:
            print(found.id)


def _choose(registries: "Registries", text: str) -> "Reference | None":
    """The image that somebody at the terminal says is meant by a short name; None where there is nothing to ask."""
    choices = () if _is_location(text) else registries.list_choices(text)
    number = choose(f"Which image is {text}?", [str(each) for each in choices]) if choices else -1
    return choices[number] if number >= 0 else None


def _is_location(text: str) -> bool:
    """TRANSPORT:DETAILS."""
    transport, _, details = text.partition(":")
    return transport in TRANSPORTS and (transport != "docker" or details.startswith("//"))


def _locate(registries: "Registries", text: str, access: Access) -> Location:
    """TRANSPORT:DETAILS, or a name completed by registries.conf: the first candidate that a registry has."""
    if _is_location(text):
        return parse_location(text)
    first, *others = registries.resolve_name(text)
    if others:
        first = registries.open_any(text, access.credentials).remote.name
    return Location("docker", reference=first)


@image_command(
    "rundlet image push app:1 registry.example/app:1",
    "rundlet image push --format v2s2 --compression-format zstd app:1 registry.example/app:1",
)
@click.argument("image", metavar="IMAGE")
@click.argument("destination", metavar="[DESTINATION]", default="")
@copying_options
@click.option("--compression-format", default="", metavar="FORMAT", help="gzip, zstd or zstd:chunked.")
@click.option("--compression-level", type=int, default=0, metavar="LEVEL", help="Level of the format.")
@access_options()
def push(image: str, destination: str, **given: Any) -> None:
    """Copy an image from the store to a registry, by its own name unless another is given."""
    host = open_host()
    access = read_access(given)
    text = destination or image
    target = parse_location(text) if text.startswith("docker://") else parse_docker_name(text)
    packing = read_packing(False, False, given.pop("compression_format"), given.pop("compression_level"))
    job = _make_job(Location("containers-storage", name=image), target, given)
    result = run_job(
        host,
        job._replace(
            options=job.options._replace(packing=packing),
            destination_access=access,
            sign=make_signer(given, target),
        ),
        given["digestfile"],
    )
    if result is not None:
        note_image(host.run_root, "push", find_image(host.store, image).id, text)


def _make_job(source: Location, target: Location, given: dict[str, Any]) -> Job:
    return Job(
        source,
        target,
        read_options(given),
        retry_times=given["retry_times"],
        retry_delay_s=given["retry_delay"],
        quiet=given["quiet"],
        progress=given["progress"],
        dry_run=given["dry_run"],
    )
