import time
from collections.abc import Mapping, Sequence

import click

from rundlet.cli.document import plain_message, print_document
from rundlet.cli.help import examples
from rundlet.cli.select import parse_labels
from rundlet.cli.session import Session
from rundlet.cli.table import format_table, human_size, short_id
from rundlet.cri.proto import api_pb2 as api

HEADER = ["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"]
CLEAR_SCREEN = "\033[2J\033[H"


def cpu_percent(old: api.CpuUsage, new: api.CpuUsage) -> float:
    """Share of one CPU between two samples, in percent; 0 when no time passed."""
    passed_ns = new.timestamp - old.timestamp
    used_ns = new.usage_core_nano_seconds.value - old.usage_core_nano_seconds.value
    return used_ns / passed_ns * 100 if passed_ns > 0 else 0.0


def _is_idle(stats: api.ContainerStats) -> bool:
    return not stats.cpu.usage_core_nano_seconds.value and not stats.memory.working_set_bytes.value


def table_rows(
    before: Mapping[str, api.ContainerStats], after: Sequence[api.ContainerStats], *, all_states: bool
) -> list[list[str]]:
    """The header and a row for every container that both samples know."""
    rows = [HEADER]
    for stats in after:
        old = before.get(stats.attributes.id)
        if old is None or (_is_idle(stats) and not all_states):
            continue
        rows.append(
            [
                short_id(stats.attributes.id),
                stats.attributes.metadata.name,
                f"{cpu_percent(old.cpu, stats.cpu):.2f}",
                human_size(stats.memory.working_set_bytes.value),
                human_size(stats.writable_layer.used_bytes.value),
                str(stats.writable_layer.inodes_used.value),
                human_size(stats.swap.swap_usage_bytes.value),
            ]
        )
    return rows


def sample(session: Session, filter: api.ContainerStatsFilter) -> list[api.ContainerStats]:
    answer = session.call(session.runtime.ListContainerStats, api.ListContainerStatsRequest(filter=filter))
    return sorted(answer.stats, key=lambda stats: stats.attributes.id)


@click.command(
    epilog=examples("rundlet stats", "rundlet stats 3e02 -o json", "rundlet stats --watch --seconds 5")
)
@click.argument("container_id", metavar="[CONTAINER-ID]", default="")
@click.option("--id", default="", help="The container, or the beginning of its id.")
@click.option("-p", "--pod", default="", metavar="POD-ID", help="In this pod.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="With this label; may be repeated."
)
@click.option("-a", "--all", "all_states", is_flag=True, help="Also containers that do not run.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Format.")
@click.option(
    "-s", "--seconds", type=click.IntRange(min=0), default=1, show_default=True, help="Time between samples."
)
@click.option("-w", "--watch", is_flag=True, help="Go on until interrupted.")
@click.pass_obj
def command(
    session: Session,
    container_id: str,
    id: str,
    pod: str,
    labels: tuple[str, ...],
    output: str,
    seconds: int,
    *,
    all_states: bool,
    watch: bool,
) -> None:
    """Show resource usage of containers; CPU over the time between two samples."""
    filter = api.ContainerStatsFilter(
        id=id or container_id, pod_sandbox_id=pod, label_selector=parse_labels(labels)
    )
    before = sample(session, filter)
    if output != "table":
        print_document(plain_message(api.ListContainerStatsResponse(stats=before)), output)
        return
    while True:
        time.sleep(seconds)
        after = sample(session, filter)
        old = {stats.attributes.id: stats for stats in before}
        print(
            CLEAR_SCREEN * watch + format_table(table_rows(old, after, all_states=all_states)),
            end="",
            flush=True,
        )
        if not watch:
            return
        before = after
