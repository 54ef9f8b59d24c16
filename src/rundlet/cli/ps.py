from collections.abc import Sequence

import click

from rundlet.cli.document import plain_message, print_document
from rundlet.cli.help import examples
from rundlet.cli.select import POD_NAME_LABEL, POD_NAMESPACE_LABEL, Choice, container_filters, find_containers
from rundlet.cli.session import Session
from rundlet.cli.table import format_map, format_table, human_age, short_id
from rundlet.cri.proto import api_pb2 as api

HEADER = ["CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD", "NAMESPACE"]
STATES = {
    api.CONTAINER_CREATED: "Created",
    api.CONTAINER_RUNNING: "Running",
    api.CONTAINER_EXITED: "Exited",
    api.CONTAINER_UNKNOWN: "Unknown",
}


def _shown(text: str, *, full: bool) -> str:
    return text if full else short_id(text)


def _image(container: api.Container, *, full: bool) -> str:
    """Only an id is shortened; a name is shown whole."""
    image = container.image.image
    return image if full or not image.startswith("sha256:") else short_id(image)


def _row(container: api.Container, image: str, *, full: bool) -> list[str]:
    return [
        _shown(container.id, full=full),
        image,
        human_age(container.created_at),
        STATES.get(container.state, str(container.state)),
        container.metadata.name,
        str(container.metadata.attempt),
        _shown(container.pod_sandbox_id, full=full),
        container.labels.get(POD_NAME_LABEL, "unknown"),
        container.labels.get(POD_NAMESPACE_LABEL, "unknown"),
    ]


def image_path(session: Session, image: str) -> str:
    """The image's first tag, or what the container calls it."""
    request = api.ImageStatusRequest(image=api.ImageSpec(image=image))
    tags = session.call(session.images.ImageStatus, request).image.repo_tags
    return tags[0] if tags else image


def describe(container: api.Container) -> str:
    """The block that --verbose shows."""
    lines = [
        f"ID: {container.id}",
        f"PodID: {container.pod_sandbox_id}",
        f"Namespace: {container.labels.get(POD_NAMESPACE_LABEL, 'unknown')}",
        f"Name: {container.metadata.name}",
        f"Attempt: {container.metadata.attempt}",
        f"State: {STATES.get(container.state, str(container.state))}",
        f"Image: {container.image.image}",
        f"Created: {human_age(container.created_at)}",
    ]
    lines += format_map("Labels", container.labels) + format_map("Annotations", container.annotations)
    return "\n".join([*lines, ""])


def _print_table(session: Session, found: Sequence[api.Container], *, full: bool, resolve: bool) -> None:
    rows = []
    for container in found:
        image = image_path(session, container.image.image) if resolve else _image(container, full=full)
        rows.append(_row(container, image, full=full))
    print(format_table([HEADER, *rows]), end="")


@click.command(
    epilog=examples("rundlet ps", "rundlet ps --all", "rundlet ps -q --pod 5f2c", "rundlet ps -o json")
)
@click.option("--id", default="", help="With this id or beginning of it.")
@container_filters()
@click.option("-a", "--all", is_flag=True, help="In every state, not only running ones.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Format.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("-v", "--verbose", is_flag=True, help="All details of every container.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.option("-r", "--resolve-image-path", is_flag=True, help="Show the image's name instead of its id.")
@click.pass_obj
def command(
    session: Session,
    /,
    output: str,
    *,
    quiet: bool,
    verbose: bool,
    no_trunc: bool,
    resolve_image_path: bool,
    **choice: str,
) -> None:
    """List containers, the newest first."""
    found = find_containers(session, Choice(**choice))  # type: ignore[arg-type]  # click passes one option a field
    if output != "table":
        print_document(plain_message(api.ListContainersResponse(containers=found)), output)
    elif quiet:
        print("".join(f"{container.id}\n" for container in found), end="")
    elif verbose:
        print("".join(f"{describe(container)}\n" for container in found), end="")
    else:
        _print_table(session, found, full=no_trunc, resolve=resolve_image_path)
