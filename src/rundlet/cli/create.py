import click

from rundlet.cli.configfile import load_container_config, load_pod_config
from rundlet.cli.credentials import auth_config, credential_options
from rundlet.cli.duration import DURATION
from rundlet.cli.help import examples
from rundlet.cli.session import Session
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import InvalidArgument


def pull_images(
    session: Session, request: api.CreateContainerRequest, auth: api.AuthConfig | None, timeout_s: float
) -> None:
    """The container's image and those that its mounts name."""
    config = request.config
    for image in [config.image, *(mount.image for mount in config.mounts if mount.image.image)]:
        pull = api.PullImageRequest(image=image, auth=auth, sandbox_config=request.sandbox_config)
        session.call(session.images.PullImage, pull, timeout_s or None)


@click.command(
    epilog=examples(
        "rundlet create $POD_ID container.json sandbox.json",
        "rundlet create --with-pull 5f2c container.yaml sandbox.yaml",
    )
)
@click.argument("pod_id", metavar="POD")
@click.argument("container_config", metavar="CONTAINER-CONFIG.[json|yaml]")
@click.argument("pod_config", metavar="POD-CONFIG.[json|yaml]")
@click.option("--with-pull", is_flag=True, help="Pull the image first.")
@click.option("--no-pull", is_flag=True, help="Do not pull, whatever the client's configuration says.")
@credential_options
@click.option(
    "--pull-timeout", type=DURATION, default=0, envvar="CRICTL_PULL_TIMEOUT", help="Time for each pull."
)
@click.option("-T", "--cancel-timeout", type=DURATION, default=0, help="Give up after this time.")
@click.pass_obj
def command(
    session: Session,
    pod_id: str,
    container_config: str,
    pod_config: str,
    creds: str,
    auth: str,
    username: str,
    pull_timeout: float,
    cancel_timeout: float,
    *,
    with_pull: bool,
    no_pull: bool,
) -> None:
    """Create a container in a pod sandbox and print its id."""
    if with_pull and no_pull:
        raise InvalidArgument("--with-pull and --no-pull exclude each other")
    request = api.CreateContainerRequest(
        pod_sandbox_id=pod_id,
        config=load_container_config(container_config),
        sandbox_config=load_pod_config(pod_config),
    )
    if with_pull or (session.settings.pull_image_on_create and not no_pull):
        pull_images(session, request, auth_config(creds, auth, username), pull_timeout)
    print(session.call(session.runtime.CreateContainer, request, cancel_timeout or None).container_id)
