import click

from rundlet.cli.document import container_status_document, info_document, print_statuses
from rundlet.cli.each import require_ids
from rundlet.cli.help import examples
from rundlet.cli.select import Choice, container_filters, find_containers
from rundlet.cli.session import Session
from rundlet.cli.table import format_map, human_age
from rundlet.cri.proto import api_pb2 as api


def describe(status: api.ContainerStatus) -> str:
    """The container as lines of "Field: value"."""
    lines = [f"ID: {status.id}", f"Name: {status.metadata.name}"]
    lines += [f"Attempt: {status.metadata.attempt}"] if status.metadata.attempt else []
    lines += [f"State: {api.ContainerState.Name(status.state)}", f"Created: {human_age(status.created_at)}"]
    if status.state != api.CONTAINER_CREATED:
        lines.append(f"Started: {human_age(status.started_at)}")
    if status.state == api.CONTAINER_EXITED:
        lines += [f"Finished: {human_age(status.finished_at)}"] if status.finished_at else []
        lines.append(f"Exit Code: {status.exit_code}")
    return "\n".join(
        lines + format_map("Labels", status.labels) + format_map("Annotations", status.annotations)
    )


@click.command(
    epilog=examples("rundlet inspect 3e02", "rundlet inspect --output table 3e02", "rundlet inspect --latest")
)
@click.argument("ids", nargs=-1, metavar="[CONTAINER-ID]...")
@container_filters()
@click.option("-a", "--all", is_flag=True, help="In every state, not only running ones.")
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "table"]), default="json", help="Format.")
@click.option("-q", "--quiet", is_flag=True, help="Without the runtime's own details.")
@click.pass_obj
def command(session: Session, /, ids: tuple[str, ...], output: str, *, quiet: bool, **filters: str) -> None:
    """Show the status of containers."""
    choice = Choice(**filters)  # type: ignore[arg-type]  # click passes one option a field
    if not ids and (choice.given or choice.all):
        ids = tuple(container.id for container in find_containers(session, choice))
    require_ids(ids, "container, or a filter that matches one")
    requests = [api.ContainerStatusRequest(container_id=id, verbose=not quiet) for id in ids]
    answers = [session.call(session.runtime.ContainerStatus, request) for request in requests]
    if output == "table":
        print("\n".join(describe(answer.status) for answer in answers))
        return
    print_statuses(
        [
            {"status": container_status_document(answer.status)} | info_document(dict(answer.info))
            for answer in answers
        ],
        output,
    )
