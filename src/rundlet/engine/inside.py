"""A running container from the inside: its files as it sees them, and its processes.

Files are reached through /proc/PID/root, so volumes and file systems in memory are there too; what
is opened below must be opened with `kernel.openat2`, for the container may change its links.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rundlet.engine.parts import Parts
from rundlet.engine.records import ContainerRecord, require_state
from rundlet.engine.userns import choose_mappings
from rundlet.errors import DeadlineExceeded, FailedPrecondition
from rundlet.kernel.failure import translating
from rundlet.kernel.setfsuid import set_file_owner
from rundlet.step import step

_KILL_TIMEOUT_S = 5.0
_KILL_NAP_S = 0.005


class Inside:
    """Of one engine; thread-safe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @contextmanager
    def open_root(self, prefix: str, uid: int = 0, gid: int = 0) -> Iterator[int]:
        """The root directory (O_PATH) of a container that runs or waits to be started.

        Within the context this thread makes files as `uid` and `gid` of the container, which are other
        ids where it has a user namespace; there it may do to files no more than they may.
        Raises FailedPrecondition when the container has ended.
        """
        record = self._find(prefix)
        with translating(f"open the files of container {record.id}"):
            root_fd = os.open(f"/proc/{record.facts.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._check_same(record)
            owner = self._map_owner(record, uid, gid)
            set_file_owner(*owner)
            try:
                yield root_fd
            finally:
                set_file_owner(os.geteuid(), os.getegid())
        finally:
            os.close(root_fd)

    def kill_rest(self, prefix: str) -> None:
        """SIGKILL every process of the container but its first; returns when they are gone."""
        record = self._find(prefix)
        with step("container.kill-rest", record.id):
            if self._parts.layout.mounts:
                self._parts.group(record.facts.cgroups_path).kill(spared=record.facts.pid)
            else:
                kill_pid_namespace(record.facts.pid)

    def _find(self, prefix: str) -> ContainerRecord:
        record = self._parts.containers.get(self._parts.containers.resolve(prefix))
        require_state(record, "created", "running", action="look into")
        return record

    def _check_same(self, record: ContainerRecord) -> None:
        """The pid may have come to be another process's since it was read: then the keeper says so."""
        if self._parts.keeper.state(record.id).exit is not None:
            raise FailedPrecondition(f"container {record.id} has ended")

    def _map_owner(self, record: ContainerRecord, uid: int, gid: int) -> tuple[int, int]:
        mappings = choose_mappings(self._parts.pods.get(record.pod_id).options)
        if mappings is None:
            return uid, gid
        return _map_id(uid, mappings[0]), _map_id(gid, mappings[1])


def kill_pid_namespace(spared: int) -> None:
    """SIGKILL every process in the PID namespace of `spared` but that; for containers without a cgroup.

    All are stopped first: a stopped one makes no more, and none escapes by being born between two looks.
    Raises DeadlineExceeded when some do not die.
    """
    namespace = os.stat(f"/proc/{spared}/ns/pid").st_ino
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    stopped: set[int] = set()
    while pids := set(_list_pid_namespace(namespace)) - {spared}:
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"{len(pids)} processes of process {spared}'s namespace do not die")
        if pids - stopped:
            _signal_all(pids - stopped, signal.SIGSTOP)
            stopped = pids
        else:
            _signal_all(pids, signal.SIGKILL)
            time.sleep(_KILL_NAP_S)


def _list_pid_namespace(namespace: int) -> Iterator[int]:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}/ns/pid").st_ino == namespace:
                yield int(name)
        except OSError:
            continue  # it has ended, or is another user's


def _signal_all(pids: set[int], signum: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            pass


def _map_id(number: int, mappings: tuple[tuple[int, int, int], ...]) -> int:
    for inside, outside, length in mappings:
        if inside <= number < inside + length:
            return outside + number - inside
    raise FailedPrecondition(f"id {number} does not exist in the container's user namespace")
