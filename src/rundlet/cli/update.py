import click

from rundlet.cli.each import require_ids, run_each
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


@click.command(
    epilog=examples("rundlet update --memory 134217728 3e02", "rundlet update --cpu-quota 50000 3e02")
)
@click.argument("ids", nargs=-1, metavar="CONTAINER-ID...")
@click.option("--cpu-period", type=int, default=0, help="CFS period in microseconds.")
@click.option("--cpu-quota", type=int, default=0, help="CFS quota in microseconds of each period.")
@click.option("--cpu-share", type=int, default=0, help="Relative weight against other containers.")
@click.option("--memory", type=int, default=0, help="Memory limit in bytes.")
@click.option("--cpuset-cpus", default="", help="CPUs to use: 0-1,3.")
@click.option("--cpuset-mems", default="", help="Memory nodes to use.")
@click.pass_obj
def command(
    session: Session,
    ids: tuple[str, ...],
    cpu_period: int,
    cpu_quota: int,
    cpu_share: int,
    memory: int,
    cpuset_cpus: str,
    cpuset_mems: str,
) -> None:
    """Change the limits of running containers; what is not given stays as it is."""
    require_ids(ids, "container")
    linux = api.LinuxContainerResources(
        cpu_period=cpu_period,
        cpu_quota=cpu_quota,
        cpu_shares=cpu_share,
        memory_limit_in_bytes=memory,
        cpuset_cpus=cpuset_cpus,
        cpuset_mems=cpuset_mems,
    )

    def update(id: str) -> str:
        request = api.UpdateContainerResourcesRequest(container_id=id, linux=linux)
        session.call(session.runtime.UpdateContainerResources, request)
        return id

    run_each(ids, update)
