"""To be told when the kernel kills for want of memory.

Version 1: an eventfd(2) tied to memory.oom_control by cgroup.event_control
(Documentation/admin-guide/cgroup-v1/memory.rst, section 10); it also fires when
the group is removed.  Version 2: memory.events, polled for POLLPRI.
"""

import os

from rundlet.cgroup.files import write_text
from rundlet.cgroup.group import Group
from rundlet.cgroup.stats import read_oom_kills
from rundlet.errors import NotFound


class OomEvents:
    """Of one group and those below; `fd` is for poll(2): POLLIN on version 1, POLLPRI on version 2.

    `is_new`: no process was in the group yet.  Raises OSError, or NotFound without a memory controller.
    """

    __slots__ = ("_group", "_kills", "fd", "is_priority")

    def __init__(self, group: Group, *, is_new: bool = False) -> None:
        self._group = group
        self.is_priority = group.layout.version == 2
        directory = group.directory("memory")
        if self.is_priority:
            self.fd = os.open(f"{directory}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
        else:
            self.fd = _tie_eventfd(directory)
        self._kills = 0 if is_new else read_oom_kills(group)

    def take(self) -> int:
        """How many processes were killed since the last time; 0 when it was a false alarm, or comes too early.

        Version 1 rings before the kernel has chosen whom to kill: ask again a moment later.
        """
        try:
            if self.is_priority:
                os.pread(self.fd, 4096, 0)
            else:
                os.read(self.fd, 8)
        except BlockingIOError:
            pass
        try:
            kills = read_oom_kills(self._group)
        except NotFound:
            return 0
        before, self._kills = self._kills, max(kills, self._kills)
        return self._kills - before

    @property
    def total(self) -> int:
        """All kills that `take` has seen."""
        return self._kills

    def close(self) -> None:
        os.close(self.fd)


def _tie_eventfd(directory: str) -> int:
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write_text(f"{directory}/cgroup.event_control", f"{fd} {control}")
        finally:
            os.close(control)
    except BaseException:
        os.close(fd)
        raise
    return fd
