"""What is kept of a container between commands.

    <root>/<id>/            made by `create`, which takes the id by it; locked by flock(2) on the directory
      state.json            Record as JSON; replaced by rename
      config.json           the configuration as `create` read it: later edits of the bundle's have no effect
      start                 FIFO: the waiting process reads a byte from it, then it is removed
      answer                FIFO: what goes wrong after that byte; closes when the program runs
      notify/notify.sock    only with NOTIFY_SOCKET: the container's sd_notify(3) socket

A process is known by pid and start time together, since pids are used again.
"""

import fcntl
import os
import time
from typing import NamedTuple

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.oci import json

GATE = "start"
ANSWER = "answer"
_STATE = "state.json"
_CONFIG = "config.json"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class Record(NamedTuple):
    """One container; `pid` is 0 while it is being created, `cgroup` its path in every hierarchy.

    With a PID namespace of its own nothing of it outlives its first process.
    """

    id: str
    bundle: str
    rootfs: str
    oci_version: str
    annotations: dict[str, str]
    created_at_ns: int
    owner_uid: int
    pid: int = 0
    start_time: int = 0
    cgroup: str = ""
    systemd_cgroup: bool = False
    has_pid_namespace: bool = False


class Container(NamedTuple):
    """A record and the directory that holds it."""

    directory: str
    record: Record

    def gate(self) -> str:
        return f"{self.directory}/{GATE}"

    def status(self) -> str:
        """creating, created, running or stopped; whether it is paused, only its cgroup can tell."""
        if self.record.pid == 0:
            return "creating" if is_locked(self.directory) else "stopped"
        if not is_alive(self.record.pid, self.record.start_time):
            return "stopped"
        return "created" if os.path.exists(self.gate()) else "running"

    def read_config(self) -> bytes:
        with open(f"{self.directory}/{_CONFIG}", "rb") as file:
            return file.read()

    def save(self, record: Record) -> "Container":
        """Replace the record."""
        fresh = f"{self.directory}/{_STATE}.new"
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(json.write(record._asdict()))
        os.rename(fresh, f"{self.directory}/{_STATE}")
        return Container(self.directory, record)


def check_id(container_id: str) -> str:
    """The id; InvalidArgument when it is no file name made of letters, digits, _ + - and ."""
    if (
        not container_id
        or set(container_id) - _LETTERS
        or set(container_id) <= {"."}
        or len(container_id) > 255
    ):
        raise InvalidArgument(
            f"invalid container id {container_id!r}", hint="letters, digits, _ + - and . make an id"
        )
    return container_id


def reserve(root: str, record: Record, config: bytes) -> tuple[Container, int]:
    """Take the id; the container's directory, and the descriptor that keeps it locked.

    Raises AlreadyExists.
    """
    directory = f"{root}/{check_id(record.id)}"
    os.makedirs(root, 0o711, exist_ok=True)
    try:
        os.mkdir(directory, 0o711)
    except FileExistsError:
        raise AlreadyExists(f'container with id "{record.id}" exists already') from None
    lock = _lock(directory)
    with open(f"{directory}/{_CONFIG}", "wb", opener=_private) as file:
        file.write(config)
    return Container(directory, record).save(record), lock


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock(directory: str) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def is_locked(directory: str) -> bool:
    """Whether a command is at work on the container."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def load(root: str, container_id: str) -> Container:
    """Raises NotFound; InvalidArgument for what can be no id."""
    directory = f"{root}/{check_id(container_id)}"
    try:
        with open(f"{directory}/{_STATE}", "rb") as file:
            return Container(directory, Record(**json.read(file.read(), f"{directory}/{_STATE}")))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f'container "{container_id}" does not exist') from None
    except TypeError as error:
        raise FailedPrecondition(f"{directory}/{_STATE}: written by another version: {error}") from error


class locked:  # noqa: N801 - used like a function, as contextlib's own
    """The container, held against other commands that would change it while the `with` block lasts."""

    def __init__(self, root: str, container_id: str) -> None:
        self._root, self._id = root, container_id
        self._fd = -1

    def __enter__(self) -> Container:
        try:
            self._fd = _lock(f"{self._root}/{check_id(self._id)}")
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f'container "{self._id}" does not exist') from None
        try:
            return load(self._root, self._id)
        except BaseException:
            os.close(self._fd)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def list_ids(root: str) -> list[str]:
    """All containers below `root`, by name."""
    try:
        with os.scandir(root) as entries:
            return sorted(entry.name for entry in entries if os.path.exists(f"{entry.path}/{_STATE}"))
    except FileNotFoundError:
        return []


def forget(directory: str) -> None:
    """The directory and with it the id; last of all, since nobody finds the rest without it."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                forget(entry.path)
            else:
                os.unlink(entry.path)
    os.rmdir(directory)


def read_start_time(pid: int) -> int:
    """Clock ticks from boot to the start of `pid`; 0 when there is no such process, or only its exit status."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def is_alive(pid: int, start_time: int) -> bool:
    return read_start_time(pid) == start_time


def open_process(container: Container) -> int:
    """A pidfd of the first process; FailedPrecondition when it has gone."""
    try:
        pidfd = os.pidfd_open(container.record.pid)
    except ProcessLookupError:
        pidfd = -1
    if pidfd < 0 or not is_alive(container.record.pid, container.record.start_time):
        if pidfd >= 0:
            os.close(pidfd)
        raise FailedPrecondition(f'container "{container.record.id}": container not running')
    return pidfd


def describe(container: Container, status: str) -> dict[str, object]:
    """The state document (runtime.md#state) with what runc adds to it."""
    record = container.record
    seconds, nanoseconds = divmod(record.created_at_ns, 1_000_000_000)
    created = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"
    document: dict[str, object] = {
        "ociVersion": record.oci_version,
        "id": record.id,
        "pid": 0 if status == "stopped" else record.pid,
        "status": status,
        "bundle": record.bundle,
        "rootfs": record.rootfs,
        "created": created,
    }
    if record.annotations:
        document["annotations"] = record.annotations
    return document
