from collections.abc import Sequence

import click

from rundlet.cli.document import plain_message, print_document
from rundlet.cli.help import examples
from rundlet.cli.select import Choice, find_pods, pod_filters
from rundlet.cli.session import Session
from rundlet.cli.table import format_map, format_table, human_age, long_time, short_id
from rundlet.cri.proto import api_pb2 as api

HEADER = ["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"]
STATES = {api.SANDBOX_READY: "Ready", api.SANDBOX_NOTREADY: "NotReady"}


def _handler(pod: api.PodSandbox) -> str:
    return pod.runtime_handler or "(default)"


def _state(pod: api.PodSandbox) -> str:
    return STATES.get(pod.state, str(pod.state))


def table_rows(pods: Sequence[api.PodSandbox], *, full: bool) -> list[list[str]]:
    """The header and a row for every pod."""
    rows = [
        [
            pod.id if full else short_id(pod.id),
            human_age(pod.created_at),
            _state(pod),
            pod.metadata.name,
            pod.metadata.namespace,
            str(pod.metadata.attempt),
            _handler(pod),
        ]
        for pod in pods
    ]
    return [HEADER, *rows]


def describe_metadata(metadata: api.PodSandboxMetadata) -> list[str]:
    pairs = {"Name": metadata.name, "UID": metadata.uid, "Namespace": metadata.namespace}
    return [f"{key}: {value}" for key, value in pairs.items() if value]


def describe(pod: api.PodSandbox) -> str:
    """The block that --verbose shows."""
    lines = [f"ID: {pod.id}", *describe_metadata(pod.metadata)]
    lines += [f"Attempt: {pod.metadata.attempt}"] if pod.metadata.attempt else []
    lines += [f"Status: {_state(pod)}", f"Created: {long_time(pod.created_at)}"]
    lines += format_map("Labels", pod.labels) + format_map("Annotations", pod.annotations)
    return "\n".join([*lines, f"Runtime: {_handler(pod)}", ""])


@click.command(
    epilog=examples("rundlet pods", "rundlet pods -q --state ready", "rundlet pods --label app=web -o json")
)
@click.option("--id", default="", help="With this id or beginning of it.")
@pod_filters
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Format.")
@click.option("-q", "--quiet", is_flag=True, help="Only ids.")
@click.option("-v", "--verbose", is_flag=True, help="All details of every pod.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@click.pass_obj
def command(
    session: Session, /, output: str, *, quiet: bool, verbose: bool, no_trunc: bool, **choice: str
) -> None:
    """List pod sandboxes, the newest first."""
    found = find_pods(session, Choice(**choice))  # type: ignore[arg-type]  # click passes one option a field
    if output != "table":
        print_document(plain_message(api.ListPodSandboxResponse(items=found)), output)
    elif quiet:
        print("".join(f"{pod.id}\n" for pod in found), end="")
    elif verbose:
        print("".join(f"{describe(pod)}\n" for pod in found), end="")
    else:
        print(format_table(table_rows(found, full=no_trunc)), end="")
