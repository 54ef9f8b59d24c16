import glob
import os
import sys

import click

from rundlet.cli.each import require_ids, run_each
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cli.stop import stop_container
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import FailedPrecondition


def remove_logs(log_path: str) -> None:
    """The log and its rotations (the kubelet's job where there is one)."""
    for path in [log_path, *glob.glob(glob.escape(log_path) + ".*")]:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            print(f"warning: cannot remove the log {path}: {error.strerror}", file=sys.stderr)


def remove_container(session: Session, id: str, *, force: bool, keep_logs: bool) -> str:
    """FailedPrecondition for a running container, unless `force` kills it first."""
    status = session.call(session.runtime.ContainerStatus, api.ContainerStatusRequest(container_id=id)).status
    lines = []
    if status.state == api.CONTAINER_RUNNING:
        if not force:
            raise FailedPrecondition(f"container {id} is running", hint="stop it first, or use --force")
        lines.append(stop_container(session, id, 0))
    session.call(session.runtime.RemoveContainer, api.RemoveContainerRequest(container_id=id))
    if status.log_path and not keep_logs:
        remove_logs(status.log_path)
    return "\n".join([*lines, id])


@click.command(epilog=examples("rundlet rm 3e02", "rundlet rm --force 3e02", "rundlet rm --all --keep-logs"))
@click.argument("ids", nargs=-1, metavar="[CONTAINER-ID]...")
@click.option("-a", "--all", "all_containers", is_flag=True, help="Remove all containers.")
@click.option("-f", "--force", is_flag=True, help="Kill them first when running.")
@click.option("-k", "--keep-logs", is_flag=True, help="Leave log files where they are.")
@click.pass_obj
def command(
    session: Session, ids: tuple[str, ...], *, all_containers: bool, force: bool, keep_logs: bool
) -> None:
    """Remove containers and their logs."""
    if all_containers:
        answer = session.call(session.runtime.ListContainers, api.ListContainersRequest())
        ids = tuple(container.id for container in answer.containers)
    else:
        require_ids(ids, "container, or --all")
    run_each(ids, lambda name: remove_container(session, name, force=force, keep_logs=keep_logs))
