"""`state`: a container's state document."""

import sys

from rundlet.oci import containers, groups, json
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context


def full_status(container: containers.Container) -> str:
    """The status with "paused", which the specification does not know and engines expect."""
    status = container.status()
    return "paused" if status == "running" and groups.is_paused(groups.group_of(container.record)) else status


def state(context: Context, arguments: Arguments) -> int:
    container = containers.load(context.root, arguments.words[0])
    sys.stdout.write(json.write_pretty(containers.describe(container, full_status(container))) + "\n")
    return 0
