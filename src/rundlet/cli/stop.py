import click

from rundlet.cli.duration import DURATION
from rundlet.cli.each import require_ids, run_each
from rundlet.cli.help import examples
from rundlet.cli.select import Choice, find_containers
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


def stop_container(session: Session, id: str, timeout_s: float) -> str:
    session.call(
        session.runtime.StopContainer, api.StopContainerRequest(container_id=id, timeout=int(timeout_s))
    )
    return id


@click.command(epilog=examples("rundlet stop 3e02", "rundlet stop --timeout 30 3e02", "rundlet stop --all"))
@click.argument("ids", nargs=-1, metavar="[CONTAINER-ID]...")
@click.option("-a", "--all", "all_running", is_flag=True, help="Stop all running containers.")
@click.option(
    "-t", "--timeout", type=DURATION, default=0, help="Time for a graceful stop before the kill (0: kill)."
)
@click.pass_obj
def command(session: Session, ids: tuple[str, ...], timeout: float, *, all_running: bool) -> None:
    """Stop running containers."""
    if all_running:
        ids = tuple(container.id for container in find_containers(session, Choice()))
    else:
        require_ids(ids, "container, or --all")
    run_each(ids, lambda name: stop_container(session, name, timeout))
