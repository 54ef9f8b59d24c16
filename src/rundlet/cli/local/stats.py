import time
from typing import TYPE_CHECKING, Any

import click

from rundlet.cli.help import examples
from rundlet.cli.local.command import local_command
from rundlet.cli.local.context import latest_container, pass_machine
from rundlet.cli.local.rows import print_rows
from rundlet.cli.table import human_size

if TYPE_CHECKING:
    from rundlet.engine.status import ContainerStats
    from rundlet.local.machine import Machine

_COLUMNS = {
    "ID": "ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET IO",
    "PIDs": "PIDS",
    "CPUTime": "CPU TIME",
    "AvgCPU": "AVG CPU %",
}
_CLEAR = "\033[2J\033[H"
_SAMPLE_S = 0.2


@local_command(
    epilog=examples("rundlet stats --no-stream", "rundlet stats --format '{{.Name}} {{.MemUsage}}' db")
)
@click.argument("names", nargs=-1, metavar="[CONTAINER]...")
@click.option("-a", "--all", "every", is_flag=True, hidden=True, help="Only running ones use anything.")
@click.option("--format", "template", default="", metavar="FORMAT", help="json, table …, or a Go template.")
@click.option(
    "-i",
    "--interval",
    type=click.FloatRange(min=0.1),
    default=5.0,
    metavar="SECONDS",
    help="Between looks (5).",
)
@click.option("-l", "--latest", is_flag=True, help="The container that was made last.")
@click.option("--no-reset", is_flag=True, help="Do not clear the screen between looks.")
@click.option("--no-stream", is_flag=True, help="Look once.")
@click.option("--no-trunc", is_flag=True, help="Do not shorten ids.")
@pass_machine
def command(machine: "Machine", names: tuple[str, ...], template: str, **given: Any) -> None:
    """Show what running containers use, until it is interrupted."""
    names = (latest_container(machine).id,) if given["latest"] else names
    ids = [machine.containers.get(name).id for name in names]
    _read(machine, ids)
    time.sleep(_SAMPLE_S)  # the share of a processor needs two looks
    while True:
        rows = [_describe(machine, item, full=given["no_trunc"]) for item in _read(machine, ids)]
        if not (given["no_stream"] or given["no_reset"] or template):
            print(_CLEAR, end="")
        print_rows(rows, _COLUMNS, template=template, document=[_document(row) for row in rows])
        if given["no_stream"]:
            return
        time.sleep(given["interval"])


def _read(machine: "Machine", ids: list[str]) -> "list[ContainerStats]":
    containers = machine.engine.containers
    return [containers.stats(id) for id in ids] if ids else list(containers.list_stats())


def _describe(machine: "Machine", item: "ContainerStats", *, full: bool) -> dict[str, Any]:
    found = machine.containers.get(item.container.id)
    memory = item.memory
    ends = machine.engine.pods.stats(found.pod_id).interfaces
    received, sent = (sum(getattr(end, name) for end in ends) for name in ("rx_bytes", "tx_bytes"))
    age_ns = max(item.cpu.timestamp_ns - found.started_at_ns, 1)
    limit = memory.usage_bytes + memory.available_bytes if memory.available_bytes else _total_memory()
    return {
        "ID": found.id if full else found.short_id,
        "Name": found.name,
        "CPUPerc": f"{item.cpu.usage_nanocores / 1e7:.2f}%",
        "MemUsage": f"{human_size(memory.usage_bytes)} / {human_size(limit)}",
        "MemPerc": f"{100 * memory.usage_bytes / limit:.2f}%",
        "NetIO": f"{human_size(received)} / {human_size(sent)}",
        "PIDs": str(item.pids),
        "CPUTime": f"{item.cpu.usage_ns / 1e6:.6g}ms",
        "AvgCPU": f"{100 * item.cpu.usage_ns / age_ns:.2f}%",
    }


def _document(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["ID"],
        "name": row["Name"],
        "cpu_time": row["CPUTime"],
        "cpu_percent": row["CPUPerc"],
        "avg_cpu": row["AvgCPU"],
        "mem_usage": row["MemUsage"],
        "mem_percent": row["MemPerc"],
        "net_io": row["NetIO"],
        "pids": row["PIDs"],
    }


def _total_memory() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(file.readline().split()[1]) * 1024
