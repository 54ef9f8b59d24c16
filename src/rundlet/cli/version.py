import click

from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


@click.command(epilog=examples("rundlet version", "rundlet -r unix:///run/crio/crio.sock version"))
@click.pass_obj
def command(session: Session) -> None:
    """Show the runtime's name, version and API version."""
    answer = session.call(session.runtime.Version, api.VersionRequest(version="v1"))
    print("Version: ", answer.version)
    print("RuntimeName: ", answer.runtime_name)
    print("RuntimeVersion: ", answer.runtime_version)
    print("RuntimeApiVersion: ", answer.runtime_api_version)
