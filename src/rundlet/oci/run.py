"""`run`: create and start; in the foreground also wait and delete."""

from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.oci.creation import Created, create_container
from rundlet.oci.destruction import destroy, destroy_ended, kill_first
from rundlet.oci.groups import group_of
from rundlet.oci.start import start_container


def run(context: Context, arguments: Arguments) -> int:
    detach = arguments.has("detach")
    if not detach and not arguments.has("no-subreaper"):
        from rundlet.oci.foreground import become_subreaper

        become_subreaper()
    created = create_container(context, arguments.words[0], arguments)
    try:
        if not detach:
            from rundlet.oci.foreground import forward_signals

            forward_signals(created.child.pidfd)
        start_container(created.container)
    except BaseException:
        _destroy(context, created)
        raise
    if detach:
        return 0
    return _wait(context, created, keep=arguments.has("keep"))


def _wait(context: Context, created: Created, *, keep: bool) -> int:
    from rundlet.oci.foreground import wait_for

    code = wait_for(created.child.pid, created.child.pidfd, created.master)
    if not keep:
        destroy_ended(context, created.container)
    return code


def _destroy(context: Context, created: Created) -> None:
    kill_first(created.container, group_of(created.container.record))
    destroy(context, created.container)
