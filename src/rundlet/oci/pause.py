"""`pause` and `resume`: by the freezer of the container's cgroup."""

from rundlet.cgroup.group import Group
from rundlet.errors import FailedPrecondition
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.oci.state import full_status


def pause(context: Context, arguments: Arguments) -> int:
    _find_group(context, arguments, ("created", "running"), "paused").freeze()
    return 0


def resume(context: Context, arguments: Arguments) -> int:
    _find_group(context, arguments, ("paused",), "resumed").thaw()
    return 0


def _find_group(context: Context, arguments: Arguments, allowed: tuple[str, ...], verb: str) -> Group:
    container = containers.load(context.root, arguments.words[0])
    status = full_status(container)
    group = groups.group_of(container.record)
    if status not in allowed or group is None:
        raise FailedPrecondition(f'container "{container.record.id}" cannot be {verb} in the {status} state')
    return group
