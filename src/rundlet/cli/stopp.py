import click

from rundlet.cli.each import require_ids, run_each
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


def stop_pod(session: Session, id: str) -> str:
    session.call(session.runtime.StopPodSandbox, api.StopPodSandboxRequest(pod_sandbox_id=id))
    return f"Stopped sandbox {id}"


@click.command(epilog=examples("rundlet stopp 5f2c", "rundlet stopp $(rundlet pods -q)"))
@click.argument("ids", nargs=-1, metavar="POD-ID...")
@click.pass_obj
def command(session: Session, ids: tuple[str, ...]) -> None:
    """Stop running pod sandboxes and the containers in them."""
    require_ids(ids, "pod")
    run_each(ids, lambda name: stop_pod(session, name))
