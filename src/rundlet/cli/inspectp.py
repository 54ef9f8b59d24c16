import click

from rundlet.cli.document import info_document, pod_status_document, print_statuses
from rundlet.cli.each import require_ids
from rundlet.cli.help import examples
from rundlet.cli.pods import describe_metadata
from rundlet.cli.select import Choice, find_pods, pod_filters
from rundlet.cli.session import Session
from rundlet.cli.table import format_map, long_time
from rundlet.cri.proto import api_pb2 as api


def describe(answer: api.PodSandboxStatusResponse) -> str:
    """The pod as lines of "Field: value"; the network namespace when the runtime tells it."""
    pod = answer.status
    details = info_document(dict(answer.info)).get("info")
    netns_path = details.get("netnsPath") if isinstance(details, dict) else None
    lines = [
        f"ID: {pod.id}",
        *describe_metadata(pod.metadata),
        f"Attempt: {pod.metadata.attempt}",
        f"Status: {api.PodSandboxState.Name(pod.state)}",
        f"Created: {long_time(pod.created_at)}",
    ]
    lines += [f"Network namespace: {netns_path}"] if netns_path else []
    lines += [f"IP Address: {pod.network.ip}"] if pod.network.ip else []
    lines += [f"Additional IP: {address.ip}" for address in pod.network.additional_ips]
    return "\n".join(lines + format_map("Labels", pod.labels) + format_map("Annotations", pod.annotations))


@click.command(
    epilog=examples(
        "rundlet inspectp --output table 5f2c", "rundlet inspectp -q --latest", "rundlet inspectp 5f2c 8a1b"
    )
)
@click.argument("ids", nargs=-1, metavar="[POD-ID]...")
@pod_filters
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "table"]), default="json", help="Format.")
@click.option("-q", "--quiet", is_flag=True, help="Without the runtime's own details.")
@click.pass_obj
def command(session: Session, /, ids: tuple[str, ...], output: str, *, quiet: bool, **filters: str) -> None:
    """Show the status of pod sandboxes."""
    choice = Choice(**filters)  # type: ignore[arg-type]  # click passes one option a field
    if not ids and choice.given:
        ids = tuple(pod.id for pod in find_pods(session, choice))
    require_ids(ids, "pod, or a filter that matches one")
    requests = [api.PodSandboxStatusRequest(pod_sandbox_id=id, verbose=not quiet) for id in ids]
    answers = [session.call(session.runtime.PodSandboxStatus, request) for request in requests]
    if output == "table":
        print("\n".join(describe(answer) for answer in answers))
        return
    print_statuses(
        [
            {"status": pod_status_document(answer.status)} | info_document(dict(answer.info))
            for answer in answers
        ],
        output,
    )
