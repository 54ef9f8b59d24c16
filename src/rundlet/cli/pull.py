import click

from rundlet.cli.configfile import load_pod_config
from rundlet.cli.credentials import auth_config, credential_options
from rundlet.cli.duration import DURATION
from rundlet.cli.help import examples
from rundlet.cli.select import parse_labels
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api


@click.command(
    epilog=examples(
        "rundlet pull redis:alpine",
        "rundlet pull --creds user:password registry.example/team/app:1.2",
        "rundlet pull --pull-timeout 2m registry.example/app@sha256:…",
    )
)
@click.argument("image", metavar="NAME[:TAG|@DIGEST]")
@credential_options
@click.option(
    "--pod-config", default="", metavar="FILE", help="Pull for this pod (its namespace and policy)."
)
@click.option(
    "-a", "--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Annotation of the image."
)
@click.option(
    "--pull-timeout", type=DURATION, default=0, envvar="CRICTL_PULL_TIMEOUT", help="Give up after this time."
)
@click.pass_obj
def command(
    session: Session,
    image: str,
    creds: str,
    auth: str,
    username: str,
    pod_config: str,
    annotations: tuple[str, ...],
    pull_timeout: float,
) -> None:
    """Pull an image from a registry."""
    request = api.PullImageRequest(
        image=api.ImageSpec(image=image, annotations=parse_labels(annotations)),
        auth=auth_config(creds, auth, username),
        sandbox_config=load_pod_config(pod_config) if pod_config else None,
    )
    answer = session.call(session.images.PullImage, request, pull_timeout or None)
    print(f"Image is up to date for {answer.image_ref}")
