"""Cgroups of pods: made when missing, and only those that rundlet made are removed; slices by systemd.

A directory that rundlet made carries the extended attribute `trusted.rundlet.made`, so
kubelet's groups, or a parent that was there before, stay when the pod goes; and a parent
that two pods share goes with the last of them.

On a hybrid machine (cgroup.layout) there is a directory in the version 2 hierarchy too: OCI
runtimes make one for each container, and leave the ones above it behind.
"""

import errno
import os
import time
from collections.abc import Iterator

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout
from rundlet.cgroup.systemd import SystemdSlice, is_slice, open_group
from rundlet.engine.locks import KeyedLocks
from rundlet.errors import FailedPrecondition
from rundlet.kernel.failure import translating

_MARK = "trusted.rundlet.made"
_LOCK = "cgroup parents"
_NAP_S = 0.005
_TIMEOUT_S = 5.0


class ParentGroups:
    """Groups that hold the groups of containers."""

    def __init__(self, layout: Layout, locks: KeyedLocks) -> None:
        self._layout = layout
        self._locks = locks

    def make(self, path: str) -> None:
        """Make what is missing of `path`; idempotent."""
        group = open_group(self._layout, path)
        with translating(f"make cgroup {path}"), self._locks.hold(_LOCK):
            missing = [directory for directory in self._directories(group) if not os.path.isdir(directory)]
            group.make()
            tracked = self._tracked_directory(group)
            if tracked:
                os.makedirs(tracked, exist_ok=True)
            for directory in missing:
                os.setxattr(directory, _MARK, b"1")

    def is_made(self, path: str) -> bool:
        """Whether rundlet made the group itself; else its limits are its maker's, kubelet's mostly."""
        return any(map(_has_mark, Group(self._layout, path).directories().values()))

    def remove(self, path: str) -> None:
        """Remove what rundlet made of `path` and is empty now; idempotent.

        Raises FailedPrecondition when a group stays busy without any group in it.
        """
        group = Group(self._layout, path)
        if is_slice(path):
            self._stop_slices(path)
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            with translating(f"remove cgroup {path}"), self._locks.hold(_LOCK):
                busy = [directory for directory in self._directories(group) if not _remove_one(directory)]
            if not busy:
                return
            if time.monotonic() > deadline:
                raise FailedPrecondition(f"cannot remove cgroup {busy[0]}: there are still processes in it")
            time.sleep(_NAP_S)  # a group is busy for a moment after its last process was reaped

    def _stop_slices(self, path: str) -> None:
        """Those that rundlet started and nobody uses, the deepest first; systemd removes their groups."""
        with self._locks.hold(_LOCK):
            while path:
                group = SystemdSlice(self._layout, path)
                if not self.is_made(path) or any(map(_has_children, group.directories().values())):
                    return
                group.remove()
                path = path.rpartition("/")[0]

    def _tracked_directory(self, group: Group) -> str:
        """Empty where there is none, and for slices, which systemd makes everywhere."""
        if not self._layout.tracking or is_slice(group.path) or not group.path.startswith("/"):
            return ""
        return self._layout.tracking.rstrip("/") + group.path

    def _directories(self, group: Group) -> Iterator[str]:
        """Every directory from the deepest up to below the mount points."""
        mounts = self._layout.mounts
        found = [(mounts[controller], directory) for controller, directory in group.directories().items()]
        tracked = self._tracked_directory(group)
        if tracked:
            found.append((self._layout.tracking, tracked))
        for mount, directory in found:
            bottom = mount.rstrip("/")
            while len(directory) > len(bottom):
                yield directory
                directory = os.path.dirname(directory)  # noqa: PLW2901 - walks up


def _has_mark(directory: str) -> bool:
    try:
        os.getxattr(directory, _MARK)
    except OSError:
        return False
    return True


def _remove_one(directory: str) -> bool:
    """True when nothing is left to do here: removed, not ours, or it holds other groups."""
    try:
        os.getxattr(directory, _MARK)
        os.rmdir(directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODATA, errno.ENOTSUP):
            return True
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return _has_children(directory)
    return True


def _has_children(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(entry.is_dir(follow_symlinks=False) for entry in entries)
    except FileNotFoundError:
        return True
