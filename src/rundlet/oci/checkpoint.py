"""`checkpoint`: a container's processes as files."""

from rundlet.errors import FailedPrecondition
from rundlet.oci import containers
from rundlet.oci.arguments import Arguments
from rundlet.oci.bundle import read_config
from rundlet.oci.context import Context
from rundlet.oci.criu import dump_command, find_criu, make_images, run_criu
from rundlet.oci.destruction import destroy
from rundlet.oci.state import full_status


def checkpoint(context: Context, arguments: Arguments) -> int:
    criu = find_criu(context)
    with containers.locked(context.root, arguments.words[0]) as container:
        status = full_status(container)
        if status not in ("running", "paused"):
            raise FailedPrecondition(
                f'container "{container.record.id}" cannot be checkpointed in the {status} state'
            )
        images = make_images(arguments)
        config = read_config(container.read_config())
        command = dump_command(criu, container, config, arguments, images)
        run_criu(command, images, "dump.log")
        if not arguments.has("leave-running") and not arguments.has("pre-dump"):
            destroy(context, container)
    return 0
