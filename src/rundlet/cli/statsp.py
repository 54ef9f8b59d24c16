import time
from collections.abc import Mapping, Sequence

import click

from rundlet.cli.document import plain_message, print_document
from rundlet.cli.help import examples
from rundlet.cli.select import parse_labels
from rundlet.cli.session import Session
from rundlet.cli.stats import CLEAR_SCREEN, cpu_percent
from rundlet.cli.table import format_table, human_size, short_id
from rundlet.cri.proto import api_pb2 as api

HEADER = ["POD", "POD ID", "CPU %", "MEM"]


def table_rows(
    before: Mapping[str, api.PodSandboxStats], after: Sequence[api.PodSandboxStats]
) -> list[list[str]]:
    """The header and a row for every pod that both samples know."""
    rows = [HEADER]
    for stats in after:
        old = before.get(stats.attributes.id)
        if old is None:
            continue
        rows.append(
            [
                stats.attributes.metadata.name,
                short_id(stats.attributes.id),
                f"{cpu_percent(old.linux.cpu, stats.linux.cpu):.2f}",
                human_size(stats.linux.memory.working_set_bytes.value),
            ]
        )
    return rows


def sample(session: Session, filter: api.PodSandboxStatsFilter) -> list[api.PodSandboxStats]:
    answer = session.call(session.runtime.ListPodSandboxStats, api.ListPodSandboxStatsRequest(filter=filter))
    return sorted(answer.stats, key=lambda stats: stats.attributes.id)


@click.command(epilog=examples("rundlet statsp", "rundlet statsp 5f2c -o json"))
@click.argument("pod_id", metavar="[POD-ID]", default="")
@click.option("--id", default="", help="The pod, or the beginning of its id.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="With this label; may be repeated."
)
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Format.")
@click.option(
    "-s", "--seconds", type=click.IntRange(min=0), default=1, show_default=True, help="Time between samples."
)
@click.option("-w", "--watch", is_flag=True, help="Go on until interrupted.")
@click.pass_obj
def command(
    session: Session, pod_id: str, id: str, labels: tuple[str, ...], output: str, seconds: int, *, watch: bool
) -> None:
    """Show resource usage of pod sandboxes; CPU over the time between two samples."""
    filter = api.PodSandboxStatsFilter(id=id or pod_id, label_selector=parse_labels(labels))
    before = sample(session, filter)
    if output != "table":
        print_document(plain_message(api.ListPodSandboxStatsResponse(stats=before)), output)
        return
    while True:
        time.sleep(seconds)
        after = sample(session, filter)
        old = {stats.attributes.id: stats for stats in before}
        print(CLEAR_SCREEN * watch + format_table(table_rows(old, after)), end="", flush=True)
        if not watch:
            return
        before = after
