"""`checkpoint`: a container's processes as files."""

from rundlet.cgroup.group import Group
from rundlet.errors import FailedPrecondition
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.bundle import read_config
from rundlet.oci.containers import Container
from rundlet.oci.context import Context
from rundlet.oci.criu import (
    Images,
    Job,
    find_criu,
    make_images,
    name_descriptors,
    plan_again,
    plan_dump,
    write_descriptors,
)
from rundlet.oci.criu_worker import check_features, run_job
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
        if arguments.has("pre-dump"):
            check_features(criu, "mem_track")
        if arguments.has("lazy-pages"):
            check_features(criu, "lazy_pages")
        images = make_images(arguments)
        stdio = name_descriptors(container.record.pid)
        if not arguments.has("pre-dump"):
            write_descriptors(stdio, images)
        run_job(criu, _plan(container, arguments, images, stdio))
        if not arguments.has("leave-running") and not arguments.has("pre-dump"):
            destroy(context, container)
    return 0


def _plan(container: Container, arguments: Arguments, images: Images, stdio: list[str]) -> Job:
    record = container.record
    config = read_config(container.read_config())
    group = groups.group_of(record)
    plan = plan_again(record.id, config, record.bundle, group)
    return plan_dump(plan, config, arguments, images, record, stdio, _find_freezer(group))


def _find_freezer(group: Group | None) -> str:
    """Empty on version 1 without that controller: criu stops the processes one by one then."""
    if group is None or (group.layout.version == 1 and "freezer" not in group.directories()):
        return ""
    return group.directory("freezer")
