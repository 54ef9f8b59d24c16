"""One container as the supervisor keeps it: its process, its streams, its files.

creating ──ready──▶ created ──start──▶ running ──exit──▶ stopped
    └──error: nothing is left            └──────────delete──────────▶ gone
"""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

from rundlet.cgroup.group import Group
from rundlet.keeper.attach import Audience, Stdin
from rundlet.keeper.logfile import LogFile, Stream
from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import ContainerState, ExitRecord

STATE_FILE = "state"
EXIT_FILE = "exit"
UNKNOWN_EXIT_CODE = 255


def write_json(path: str, value: object) -> None:
    """Atomically: the whole of it or nothing is read back."""
    fresh = f"{path}.new"
    with open(fresh, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.rename(fresh, path)


def read_json(path: str) -> Any:
    """What `write_json` wrote; None when it is not there."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def read_start_time(pid: int) -> int:
    """When `pid` began, in clock ticks since boot (proc(5), stat field 22): with it a pid names one process for ever.

    0 when there is no such process.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


class Container:
    """Kept from create to delete; all changes come from the supervisor's one thread."""

    def __init__(self, container_id: str, directory: str, group: Group | None, loop: Loop) -> None:
        self.id = container_id
        self.directory = directory
        self.group = group
        self.log = LogFile()
        self.status = "creating"
        self.pid = 0
        self.pidfd = -1
        self.start_time = 0
        self.started_at_ns = 0
        self.exit: ExitRecord | None = None
        self.streams: list[Stream] = []
        self.stdin = Stdin(loop)
        self.stdin_once = False
        self.audience = Audience(loop, self.stdin, self._on_stdin_end)
        self.terminal = False

    def _on_stdin_end(self) -> None:
        """stdin_once: the first caller that had stdin was the last one, too."""
        if self.stdin_once and not self.stdin.is_terminal:
            self.stdin.close()

    def state(self) -> ContainerState:
        pid = self.pid if self.exit is None else 0
        return ContainerState(self.status, pid, self.started_at_ns, self.exit)

    def save(self) -> None:
        """What a new supervisor needs to take the container over."""
        write_json(
            f"{self.directory}/{STATE_FILE}",
            {
                "id": self.id,
                "status": self.status,
                "pid": self.pid,
                "start_time": self.start_time,
                "started_at_ns": self.started_at_ns,
                "log_path": self.log.path,
                "cgroup": self.group.path if self.group else "",
                "terminal": self.terminal,
                "stdin_once": self.stdin_once,
            },
        )

    def open_stream(self, name: str) -> Stream:
        """The reading end of a FIFO; it stays when the container's end is closed and opened again."""
        fd = os.open(f"{self.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return self.take_stream(fd, name)

    def take_stream(self, fd: int, name: str) -> Stream:
        """The reading end of a pipe or a terminal, written to the log as `name`."""
        stream = Stream(fd, name, self.log, self.audience)
        self.streams.append(stream)
        return stream

    def take_terminal(self, fd: int) -> Stream:
        """The master of the container's terminal: its output is stdout, its input stdin."""
        self.terminal = True
        self.stdin.open(fd, is_terminal=True)
        return self.take_stream(fd, "stdout")

    def open_gate(self) -> None:
        """Let the created process go on to execve(2).

        The waiting process holds the FIFO open both ways, so this never blocks.
        """
        fd = os.open(f"{self.directory}/start", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(fd, b"0")
        os.close(fd)

    def send_signal(self, number: int) -> None:
        """To the first process; quiet when it has gone."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass

    def signal_everyone(self, number: int) -> None:
        """To every process of the container's cgroup."""
        if number == signal.SIGKILL and self.group is not None:
            self.group.kill()
            return
        for pid in self.group.pids(recursive=True) if self.group else []:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def finish(self, wait_status: int | None, finished_at_ns: int, oom_killed: bool) -> ExitRecord:
        """Make and save the exit record; None for a status that nobody could know."""
        for stream in self.streams:
            stream.drain()
        number = 0
        code = UNKNOWN_EXIT_CODE
        if wait_status is not None:
            code = os.waitstatus_to_exitcode(wait_status)
            number = -code if code < 0 else 0
            code = 128 + number if code < 0 else code
        self.exit = ExitRecord(self.id, "", code, number, oom_killed, finished_at_ns)
        self.status = "stopped"
        write_json(f"{self.directory}/{EXIT_FILE}", self.exit)
        return self.exit

    def close(self) -> None:
        """Every descriptor; the loop must have let go of them before."""
        self.end_streams()
        self.log.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
        self.pidfd = -1

    def end_streams(self) -> None:
        """No input, no output any more: whoever is attached is told by the end of its stream."""
        self.stdin.close()
        for stream in self.streams:
            stream.close()
        self.streams.clear()
        self.audience.close()

    def remove_files(self) -> None:
        """The directory with all in it."""
        for name in os.listdir(self.directory):
            os.unlink(f"{self.directory}/{name}")
        os.rmdir(self.directory)


def restore_container(directory: str, make_group: Callable[[str], Group], loop: Loop) -> Container | None:
    """A container as its files tell it; None when it was still being created."""
    saved = read_json(f"{directory}/{STATE_FILE}")
    if saved is None:
        return None
    group = make_group(saved["cgroup"]) if saved["cgroup"] else None
    container = Container(saved["id"], directory, group, loop)
    container.log.open(saved["log_path"])
    container.status = saved["status"]
    container.pid = saved["pid"]
    container.start_time = saved["start_time"]
    container.started_at_ns = saved["started_at_ns"]
    container.terminal = saved["terminal"]
    container.stdin_once = saved["stdin_once"]
    exit_fields = read_json(f"{directory}/{EXIT_FILE}")
    if exit_fields is not None:
        container.exit = ExitRecord(*exit_fields)
        container.status = "stopped"
    return container
