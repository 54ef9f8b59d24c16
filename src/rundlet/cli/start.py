import click

from rundlet.cli.each import require_ids, run_each
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


def start_container(session: Session, id: str) -> str:
    session.call(session.runtime.StartContainer, api.StartContainerRequest(container_id=id))
    return id


@click.command(epilog=examples("rundlet start 3e02"))
@click.argument("ids", nargs=-1, metavar="CONTAINER-ID...")
@click.pass_obj
def command(session: Session, ids: tuple[str, ...]) -> None:
    """Start created containers."""
    require_ids(ids, "container")
    run_each(ids, lambda name: start_container(session, name))
