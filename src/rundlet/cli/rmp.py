import click

from rundlet.cli.each import require_ids, run_each
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cli.stopp import stop_pod
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import FailedPrecondition


def remove_pod(session: Session, id: str, *, force: bool) -> str:
    """FailedPrecondition for a pod that is ready, unless `force` stops it first."""
    request = api.PodSandboxStatusRequest(pod_sandbox_id=id)
    lines = []
    if session.call(session.runtime.PodSandboxStatus, request).status.state == api.SANDBOX_READY:
        if not force:
            raise FailedPrecondition(f"pod sandbox {id} is running", hint="stop it first, or use --force")
        lines.append(stop_pod(session, id))
    session.call(session.runtime.RemovePodSandbox, api.RemovePodSandboxRequest(pod_sandbox_id=id))
    return "\n".join([*lines, f"Removed sandbox {id}"])


@click.command(epilog=examples("rundlet rmp 5f2c", "rundlet rmp --force 5f2c", "rundlet rmp --all"))
@click.argument("ids", nargs=-1, metavar="[POD-ID]...")
@click.option("-a", "--all", "all_pods", is_flag=True, help="Remove all pods.")
@click.option("-f", "--force", is_flag=True, help="Stop them first when running.")
@click.pass_obj
def command(session: Session, ids: tuple[str, ...], *, all_pods: bool, force: bool) -> None:
    """Remove pod sandboxes and what is left of their containers."""
    if all_pods:
        answer = session.call(session.runtime.ListPodSandbox, api.ListPodSandboxRequest())
        ids = tuple(pod.id for pod in answer.items)
    else:
        require_ids(ids, "pod, or --all")
    run_each(ids, lambda name: remove_pod(session, name, force=force))
