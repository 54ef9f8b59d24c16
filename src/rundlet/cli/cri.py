"""`rundlet cri`: crictl's verbs, for any CRI runtime."""

import click

from rundlet.cli.help import examples
from rundlet.cli.lazygroup import LazyGroup

COMMANDS = {
    "version": ("version", "Show the runtime's name, version and API version."),
    "info": ("info", "Show the runtime's conditions and configuration."),
    "pull": ("pull", "Pull an image from a registry."),
    "images": ("images", "List images."),
    "inspecti": ("inspecti", "Show the status of images."),
    "rmi": ("rmi", "Remove images."),
    "imagefsinfo": ("imagefsinfo", "Show the disk usage of images."),
    "runp": ("runp", "Run a new pod sandbox."),
    "pods": ("pods", "List pod sandboxes."),
    "inspectp": ("inspectp", "Show the status of pod sandboxes."),
    "statsp": ("statsp", "Show resource usage of pod sandboxes."),
    "stopp": ("stopp", "Stop running pod sandboxes."),
    "rmp": ("rmp", "Remove pod sandboxes."),
    "create": ("create", "Create a container in a pod sandbox."),
    "start": ("start", "Start created containers."),
    "ps": ("ps", "List containers."),
    "inspect": ("inspect", "Show the status of containers."),
    "exec": ("exec", "Run a command in a running container."),
    "attach": ("attach", "Follow a running container, and type into it."),
    "port-forward": ("port_forward", "Forward local ports to a pod sandbox."),
    "logs": ("logs", "Show the log of a container."),
    "stats": ("stats", "Show resource usage of containers."),
    "update": ("update", "Change the limits of running containers."),
    "stop": ("stop", "Stop running containers."),
    "rm": ("rm", "Remove containers."),
    "runtime-config": ("runtime_config", "Show the runtime's cgroup driver."),
}
ALIASES = {"img": "images"}


class _Group(LazyGroup):
    table = COMMANDS
    aliases = ALIASES


@click.group(
    "cri",
    cls=_Group,
    epilog=examples("rundlet cri pods", "rundlet -r unix:///run/crio/crio.sock cri ps --all"),
)
def command() -> None:
    """Drive a CRI runtime with crictl's verbs: rundletd, CRI-O, containerd."""
