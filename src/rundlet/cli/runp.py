import click

from rundlet.cli.configfile import load_pod_config
from rundlet.cli.duration import DURATION
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


@click.command(epilog=examples("rundlet runp sandbox.json", "rundlet runp --runtime runsc sandbox.yaml"))
@click.argument("pod_config", metavar="POD-CONFIG.[json|yaml]")
@click.option("-r", "--runtime", default="", help="Runtime handler to use.")
@click.option("-T", "--cancel-timeout", type=DURATION, default=0, help="Give up after this time.")
@click.pass_obj
def command(session: Session, pod_config: str, runtime: str, cancel_timeout: float) -> None:
    """Run a new pod sandbox and print its id."""
    request = api.RunPodSandboxRequest(config=load_pod_config(pod_config), runtime_handler=runtime)
    print(session.call(session.runtime.RunPodSandbox, request, cancel_timeout or None).pod_sandbox_id)
