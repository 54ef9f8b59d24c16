"""`create`: the container's process exists and waits; `start` lets it run its program."""

from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.oci.creation import create_container


def create(context: Context, arguments: Arguments) -> int:
    detached = Arguments({**arguments.flags, "detach": True}, arguments.words)
    create_container(context, arguments.words[0], detached)
    return 0
