"""`kill`: a signal to the first process, or with --all to every process of the cgroup."""

import os
import signal

from rundlet.cgroup.group import Group
from rundlet.oci import containers, groups
from rundlet.oci.arguments import Arguments
from rundlet.oci.context import Context
from rundlet.oci.destruction import thaw
from rundlet.oci.signals import parse_signal


def kill(context: Context, arguments: Arguments) -> int:
    container_id, *rest = arguments.words
    number = parse_signal(rest[0] if rest else "TERM")
    container = containers.load(context.root, container_id)
    group = groups.group_of(container.record)
    if arguments.has("all") and group is not None and group.exists():
        _signal_all(group, number)
        return 0
    pidfd = containers.open_process(container)
    try:
        signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)
    if number == signal.SIGKILL:
        thaw(group)
    return 0


def _signal_all(group: Group, number: int) -> None:
    if number == signal.SIGKILL:
        thaw(group)
        group.kill()
        return
    for pid in group.pids(recursive=True):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass
