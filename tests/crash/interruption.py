"""A command line at work, as a person has it in front of them: stopped at a named step, and interrupted there."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from rundlet.engine.settings import Settings
from rundlet.failpoint import FILE_BYTES, Failpoints
from tests.crash.stage import SETTLE_S, Traces, find_leftovers, is_keeper, take_traces

MAIN = (sys.executable, "-m", "rundlet.cli.main")
_LOOK_S = 0.0005
_PATIENCE_S = 20.0
_SHELL_SAYS = 128


class Outcome(NamedTuple):
    """`code` is what a shell calls it: 128 + N for a process that signal N ended."""

    code: int
    output: str
    was_reached: bool = False


class Command:
    """A process in a session of its own; with a `terminal`, in that terminal's foreground."""

    def __init__(self, words: Sequence[str], environ: dict[str, str], *, terminal: bool) -> None:
        self._master, slave = pty.openpty() if terminal else os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._master, False)
        self._terminal = terminal
        self._process = subprocess.Popen(
            ("setsid", "--ctty", *words) if terminal else words,
            env=environ,
            stdin=slave if terminal else subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
            start_new_session=not terminal,
        )
        os.close(slave)
        self.pidfd = os.pidfd_open(self._process.pid)
        self.output = b""

    def has_ended(self) -> bool:
        return bool(select.select([self.pidfd], [], [], 0)[0])

    def interrupt(self, number: int) -> None:
        """SIGINT is ctrl-c where there is a terminal, unless that passes every key on."""
        if self._terminal and number == signal.SIGINT:
            self._press_ctrl_c()
        elif not self.has_ended():
            signal.pidfd_send_signal(self.pidfd, number)

    def _press_ctrl_c(self) -> None:
        """Returns when the terminal has sent the signal, which it shows by ^C."""
        echoes = termios.tcgetattr(self._master)[3] & termios.ISIG
        seen = len(self.output)
        os.write(self._master, b"\x03")
        deadline = time.monotonic() + _PATIENCE_S
        while echoes and b"^C" not in self.output[seen:] and not self.has_ended():
            assert time.monotonic() < deadline, "the terminal does not show ^C"
            self._read()

    def _read(self) -> None:
        if select.select([self._master], [], [], _LOOK_S)[0]:
            try:
                self.output += os.read(self._master, 1 << 16)
            except OSError:
                pass  # the other end of the terminal is closed

    def finish(self) -> Outcome:
        deadline = time.monotonic() + _PATIENCE_S
        while not self.has_ended():
            assert time.monotonic() < deadline, f"it does not end: {self.output.decode()}"
            self._read()
        self._read()
        code = self._process.wait()
        return Outcome(_SHELL_SAYS - code if code < 0 else code, self.output.decode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self.pidfd)
        os.close(self._master)


class Cut(NamedTuple):
    """Where a command is interrupted, and by what."""

    point: str
    number: signal.Signals
    terminal: bool = False

    def describe(self) -> str:
        return f"{self.point} {self.number.name} {'terminal' if self.terminal else 'plain'}"


class Desk:
    """A machine with places of its own, and the command lines that are typed there."""

    def __init__(self, settings: Settings, failpoints: str, config_dir: str) -> None:
        with open(failpoints, "wb") as file:
            file.write(bytes(FILE_BYTES))
        self.points = Failpoints(failpoints)
        self.root = settings.root
        self._settings = settings
        self._environ = os.environ | {
            "RUNDLET_ROOT": settings.root,
            "RUNDLET_RUN_ROOT": settings.run_root,
            "RUNDLET_CONFIG_DIR": config_dir,
            "RUNDLET_FAILPOINTS": failpoints,
        }

    def run(self, *words: str, terminal: bool = False) -> Outcome:
        with Command((*MAIN, *words), self._environ, terminal=terminal) as command:
            return command.finish()

    def list_points(self, words: Sequence[str], *, terminal: bool = False) -> list[str]:
        """All that a command which goes well passes, in whichever process."""
        self.points.take_passed()
        done = self.run(*words, terminal=terminal)
        assert done.code == 0, done.output
        return sorted(self.points.take_passed())

    def cut(self, words: Sequence[str], cut: Cut) -> Outcome:
        """The command, interrupted once it (or a process that works for it) is at the point."""
        self.points.arm(cut.point)
        with Command((*MAIN, *words), self._environ, terminal=cut.terminal) as command:
            while not (was_reached := self.points.is_reached()) and not command.has_ended():
                time.sleep(_LOOK_S)
            command.interrupt(cut.number)
            self.points.let_go()
            return command.finish()._replace(was_reached=was_reached)

    def run_until(self, words: Sequence[str], is_due: Callable[[], bool], cut: Cut) -> Outcome:
        """The command, interrupted when `is_due`; there is no step to wait at."""
        with Command((*MAIN, *words), self._environ, terminal=cut.terminal) as command:
            deadline = time.monotonic() + _PATIENCE_S
            while not is_due():
                assert not command.has_ended(), command.finish().output
                assert time.monotonic() < deadline, "the moment does not come"
                time.sleep(_LOOK_S)
            command.interrupt(cut.number)
            return command.finish()._replace(was_reached=True)

    def take_traces(self) -> Traces:
        return take_traces(self._settings, lambda process: is_keeper(process.split(" ", 1)[0]))

    def find_leftovers(self, before: Traces) -> list[str]:
        return find_leftovers(before, self.take_traces)

    def await_no_keeper(self) -> None:
        deadline = time.monotonic() + SETTLE_S
        while any(
            is_keeper(pid, self._settings.run_root) for pid in filter(str.isdecimal, os.listdir("/proc"))
        ):
            assert time.monotonic() < deadline, "a keeper stays"
            time.sleep(_LOOK_S)
