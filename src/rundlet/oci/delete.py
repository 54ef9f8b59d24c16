"""`delete`: remove what a container holds; one that runs only with --force."""

from rundlet.errors import FailedPrecondition, NotFound
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.oci.destruction import destroy, kill_first


def delete(context: Context, arguments: Arguments) -> int:
    container_id, force = arguments.words[0], arguments.has("force")
    try:
        with containers.locked(context.root, container_id) as container:
            status = container.status()
            # As runc does: a created container has run nothing of its own yet.
            if status not in ("stopped", "creating", "created") and not force:
                raise FailedPrecondition(
                    f'cannot delete container "{container_id}" that is not stopped: {status}'
                )
            kill_first(container, groups.group_of(container.record))
            destroy(context, container)
    except NotFound:
        if not force:
            raise
    return 0
