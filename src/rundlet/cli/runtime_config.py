import click

from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


@click.command(epilog=examples("rundlet runtime-config"))
@click.pass_obj
def command(session: Session) -> None:
    """Show the runtime's cgroup driver."""
    answer = session.call(session.runtime.RuntimeConfig, api.RuntimeConfigRequest())
    print("cgroup driver:  ", api.CgroupDriver.Name(answer.linux.cgroup_driver))
