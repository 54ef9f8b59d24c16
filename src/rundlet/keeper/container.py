"""One container as the supervisor keeps it: its process, its streams, its files.

creating ──ready──▶ created ──start──▶ running ──exit──▶ stopped
    └──error: nothing is left            └──────────delete──────────▶ gone
"""

import os
import signal
from collections.abc import Callable
from typing import Any

from rundlet.cgroup.group import Group
from rundlet.cgroup.oom import OomEvents
from rundlet.keeper.attach import Audience, Stdin
from rundlet.keeper.files import remove_tree, write_json
from rundlet.keeper.identity import split_status
from rundlet.keeper.logfile import LogFile
from rundlet.keeper.loop import Loop
from rundlet.keeper.protocol import ContainerState, ExitRecord
from rundlet.keeper.stream import Scratch, Source, Stream, Terminal
from rundlet.step import step

STATE_FILE = "state"
EXIT_FILE = "exit"
UNKNOWN_EXIT_CODE = 255
OPEN = b"0"  # to the gate


class Container:
    """Kept from create to delete; all changes come from the supervisor's one thread.

    `adopted`: an earlier supervisor made it, so it is not this process's child.
    """

    def __init__(
        self, container_id: str, directory: str, group: Group | None, loop: Loop, scratch: Scratch
    ) -> None:
        self.id = container_id
        self.directory = directory
        self.group = group
        self.log = LogFile()
        self.status = "creating"
        self.pid = 0
        self.pidfd = -1
        self.start_time = 0
        self.started_at_ns = 0
        self.adopted = False
        self.oom: OomEvents | None = None
        self.exit: ExitRecord | None = None
        self.streams: dict[str, Stream] = {}
        self.terminal: Terminal | None = None
        self._pumps_terminal = False
        self.stdin = Stdin(loop)
        self.stdin_mode = ""  # empty, "open" or "once"
        self.on_stdin_closed: Callable[[], None] = lambda: None
        self.audience = Audience(loop, self.stdin, self._on_stdin_end, self._on_room)
        self._loop = loop
        self._scratch = scratch

    # -- what others see --------------------------------------------------------

    def state(self) -> ContainerState:
        pid = self.pid if self.exit is None else 0
        return ContainerState(self.status, pid, self.started_at_ns, self.exit)

    def save(self) -> None:
        """What a new supervisor needs to take the container over."""
        saved: dict[str, Any] = {
            "id": self.id,
            "status": self.status,
            "pid": self.pid,
            "start_time": self.start_time,
            "started_at_ns": self.started_at_ns,
            "log_path": self.log.path,
            "log_limit": self.log.limit,
            "cgroup": self.group.path if self.group else "",
            "stdin": self.stdin_mode,
        }
        with step(f"keeper.note-{self.status}"):
            write_json(f"{self.directory}/{STATE_FILE}", saved)

    def fds(self) -> dict[str, int]:
        """Those that must outlive the supervisor, by name."""
        held = {name: stream.fd for name, stream in self.streams.items()}
        if self.pidfd >= 0:
            held["pidfd"] = self.pidfd  # it can tell the exit status even when the process has been reaped
        if self.terminal is not None:
            held["terminal"] = self.terminal.fd
        elif self.stdin.fd >= 0:
            held["stdin"] = self.stdin.fd
        return held | self.audience.fds()

    # -- streams ----------------------------------------------------------------

    def open_stream(self, name: str, fd: int = -1) -> None:
        """Read the FIFO `name`, open as `fd` or to be opened; it stays when the container closes its end."""
        if fd < 0:
            fd = os.open(f"{self.directory}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        source = Source(self.id, self.directory, self.log, self.audience)
        self.streams[name] = Stream(fd, name, source, self._scratch)

    def open_terminal(self, fd: int) -> None:
        """The master: its output goes into the FIFO of stdout, its input is stdin."""
        self.terminal = Terminal(fd, self.streams["stdout"].fd)
        self.stdin.open(fd, is_terminal=True)
        self._loop.add_edge(fd, self._on_terminal)

    def listen(self) -> None:
        """Serve the streams from now on."""
        for stream in self.streams.values():
            self._loop.add_edge(stream.fd, lambda stream=stream: self._on_output(stream))  # type: ignore[misc]

    def _on_output(self, stream: Stream) -> None:
        if stream.fd < 0:
            return  # closed since this was asked for
        if not self.audience.has_room():
            return  # `_on_room` comes
        if stream.pump():
            self._loop.soon(lambda: self._on_output(stream))
        elif stream.has_ended():
            self._end_stream(stream)
        if not self._pumps_terminal:
            self._on_terminal()  # it may have waited for room in the FIFO

    def _on_room(self) -> None:
        for stream in list(self.streams.values()):
            self._loop.soon(lambda stream=stream: self._on_output(stream))  # type: ignore[misc]

    def _on_terminal(self) -> None:
        self._pumps_terminal = self.terminal is not None and self.terminal.pump()
        if self._pumps_terminal:
            self._loop.soon(self._on_terminal)

    def _end_stream(self, stream: Stream) -> None:
        """Everyone who could write has gone; the process itself may go on without it."""
        stream.finish()
        self._loop.remove(stream.fd)
        stream.close()
        del self.streams[stream.name]
        if not self.streams:
            self.audience.end_streams()

    def _on_stdin_end(self) -> None:
        """stdin_once: the first caller that had stdin was the last one, too."""
        if self.stdin_mode == "once" and not self.stdin.is_terminal and self.stdin.fd >= 0:
            self.stdin_mode = ""
            self.save()
            self.on_stdin_closed()
            self.stdin.close()

    def end_streams(self) -> None:
        """The process has ended: all output to the log; whoever is attached is told by the end of its stream."""
        if self.terminal is not None:
            self.terminal.finish(self.streams["stdout"])
        for stream in self.streams.values():
            stream.finish()
        self.close_streams()

    def close_streams(self) -> None:
        self.stdin.close()
        for stream in self.streams.values():
            self._loop.remove(stream.fd)
            stream.close()
        self.streams.clear()
        if self.terminal is not None:
            self._loop.remove(self.terminal.fd)
            self.terminal.close()
            self.terminal = None
        self.audience.end_streams()

    # -- process ----------------------------------------------------------------

    def open_gate(self) -> None:
        """Let the created process go on to execve(2); OSError (ENXIO) when it does not wait there.

        The waiting process holds the FIFO open both ways, so this never blocks.
        """
        fd = os.open(f"{self.directory}/start", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(fd, OPEN)
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
        self.end_streams()
        code, number = split_status(wait_status) if wait_status is not None else (UNKNOWN_EXIT_CODE, 0)
        self.exit = ExitRecord(self.id, "", code, number, oom_killed, finished_at_ns)
        self.status = "stopped"
        with step("keeper.note-exit"):
            write_json(f"{self.directory}/{EXIT_FILE}", self.exit)
        self.audience.end(self.exit)
        return self.exit

    def close(self) -> None:
        """Every descriptor; nothing more is written to the log."""
        self.close_streams()
        self.audience.close()
        self.log.close()
        self.close_pidfd()
        self.close_oom()

    def close_oom(self) -> None:
        if self.oom is not None:
            self._loop.remove(self.oom.fd)
            self.oom.close()
        self.oom = None

    def close_pidfd(self) -> None:
        if self.pidfd >= 0:
            self._loop.remove(self.pidfd)
            os.close(self.pidfd)
        self.pidfd = -1

    def remove_files(self) -> None:
        """The directory with all in it: without its state first, so that what a kill leaves is no container's."""
        with step("keeper.remove-files"):
            remove_tree(self.directory, first=STATE_FILE)
