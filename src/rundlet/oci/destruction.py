"""Ending a container and removing what it holds, in the order that keeps it findable until the end."""

import os
import signal

from rundlet.cgroup.group import Group
from rundlet.errors import DeadlineExceeded, Error, FailedPrecondition, NotFound
from rundlet.oci import containers, groups
from rundlet.oci.containers import Container
from rundlet.oci.context import Context
from rundlet.runtime.resctrl import remove_groups

_KILL_TIMEOUT_MS = 10_000


def kill_first(container: Container, group: Group | None) -> None:
    """SIGKILL to the first process, and wait until it has gone; a paused one is let run to die."""
    try:
        pidfd = containers.open_process(container)
    except FailedPrecondition:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        thaw(group)
        import select

        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_KILL_TIMEOUT_MS):
            raise DeadlineExceeded(f'container "{container.record.id}": its first process does not die')
    finally:
        os.close(pidfd)


def thaw(group: Group | None) -> None:
    """Frozen processes take no signal on cgroup v1."""
    if groups.is_paused(group) and group is not None:
        group.thaw()


def destroy_ended(context: Context, container: Container) -> None:
    """As `destroy`, by who has waited for the first process; a `delete` may be at work meanwhile."""
    try:
        with containers.locked(context.root, container.record.id) as current:
            destroy(context, current)
    except NotFound:
        pass


def destroy(context: Context, container: Container) -> None:
    """Whatever is left of a container whose first process has gone."""
    group = groups.group_of(container.record)
    if group is not None and group.exists():
        if not container.record.has_pid_namespace:
            group.kill()
        group.remove()
    remove_groups(container.record.id)
    _run_poststop(context, container)
    containers.forget(container.directory)


def _run_poststop(context: Context, container: Container) -> None:
    """A failing hook is a warning: the container goes all the same (runtime.md#lifecycle)."""
    if b'"hooks"' not in container.read_config():
        return

    from rundlet.oci.bundle import read_hooks

    hooks = read_hooks(container)
    if hooks is None or not hooks.poststop:
        return
    from rundlet.runtime.hooks import Group, run_hooks

    try:
        run_hooks([Group("poststop", hooks.poststop)], {**hooks.state, "status": "stopped"}, go_on=True)
    except Error as error:
        context.log.warning(str(error))
