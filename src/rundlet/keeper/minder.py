"""The minder: one more process that the supervisor keeps alive while somebody wants it.

What it does is the engine's side's business (restarts, health checks, clean-up); here it is argv and
environment, kept in a file so that a new supervisor knows them:

    <run root>/keeper/minder   JSON: argv, env, pid, start_time

    mind ─▶ runs ──exits with 0──▶ forgotten, unless a `mind` came that it has not heard
              └──dies──▶ runs again after 0.1 s, doubled each time up to a minute, 0.1 s after a life of 10 s

A `mind` with `later` only counts when its caller's connection closes without an `unmind` before: whoever
looks after a container itself is killed, or goes away.

It hears of each `mind` by its `watch` (minds: true), which says "mind" with the `look` that was given:
whether there is something to do at once.  A minder that has just come is told to look unless all that
it was wanted for could wait.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from rundlet.keeper.core import Core
from rundlet.keeper.files import read_json, write_json
from rundlet.keeper.identity import find_wait_status, open_process, read_start_time
from rundlet.keeper.server import Request
from rundlet.step import step

_PAUSE_S = 0.1
_PAUSE_MAX_S = 60.0
_LONG_LIFE_S = 10.0
# What Python ignores and a program must not inherit.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


class _Process(NamedTuple):
    pid: int
    pidfd: int
    born_s: float
    adopted: bool  # an earlier supervisor's child


class Minder:
    """`tell` says "mind" to those that watch for it, and whether anybody heard."""

    def __init__(self, core: Core, clock: Callable[[], float], tell: Callable[[bool], bool]) -> None:
        self._core = core
        self._clock = clock
        self._tell = tell
        self._path = f"{core.directory}/minder"
        self._command: dict[str, Any] = {}  # argv and env; empty when nobody wants it
        self._process: _Process | None = None
        self._pause_s = _PAUSE_S
        self._unheard = False
        self._look = False
        self._is_released = False

    @property
    def is_wanted(self) -> bool:
        return bool(self._command)

    def serve_mind(self, request: Request) -> None:
        """Answered with its pid when it runs."""
        args = request.args
        command = {"argv": args["argv"], "env": args["env"]}
        if args.get("later"):
            request.on_farewell(lambda: self._want(command, look=True))
        else:
            self._want(command, look=bool(args["look"]))
        request.answer({"pid": self._process.pid if self._process else 0})

    def serve_unmind(self, request: Request) -> None:
        request.on_farewell(None)
        request.answer({})

    def _want(self, command: dict[str, Any], *, look: bool) -> None:
        self._command = command
        self._look = self._look or look
        if self._process is None:
            self._start()
        else:
            self._save()
            self._unheard = not self._tell(self._look)
            self._look = self._look and self._unheard

    def take_look(self) -> bool:
        """What a minder that begins to watch is told first; from now on it hears of everything."""
        look, self._look, self._unheard = self._look, False, False
        return look

    def expect_look(self) -> None:
        """A container has ended, and no minder has heard of it: the next one looks."""
        self._look = self.is_wanted

    def resume(self) -> None:
        """A new supervisor goes on with the old one's, or starts it again."""
        saved = read_json(self._path)
        if saved is None:
            return
        self._command = {"argv": saved["argv"], "env": saved["env"]}
        self._look = self._unheard = True  # nobody can know
        pidfd = open_process(saved["pid"], saved["start_time"])
        if pidfd >= 0:
            self._watch(_Process(saved["pid"], pidfd, self._clock(), adopted=True))
        else:
            self._start()

    def _save(self) -> None:
        pid = self._process.pid if self._process else 0
        with step("keeper.note-minder"):
            write_json(self._path, {**self._command, "pid": pid, "start_time": read_start_time(pid)})

    def _start(self) -> None:
        """Without a copy of this process's memory: posix_spawn(3)."""
        if self._process is not None or not self._command or self._is_released:
            return
        argv, env = self._command["argv"], self._command["env"]
        if not os.path.exists(self._path):
            self._save()  # a supervisor that is killed before it has the pid leaves the wish
        try:
            with step("keeper.start-minder"):
                pid = os.posix_spawn(
                    argv[0],
                    argv,
                    env,
                    file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)],
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_DEFAULT_SIGNALS,
                )
        except OSError as error:
            print(f"keeper: minder {argv[0]}: {error}", file=sys.stderr, flush=True)
            self._start_later()
            return
        self._unheard = False  # it begins with all that was wished
        self._watch(_Process(pid, os.pidfd_open(pid), self._clock(), adopted=False))
        self._save()

    def _watch(self, process: _Process) -> None:
        self._process = process
        self._core.loop.add(process.pidfd, self._on_exit)

    def _on_exit(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.adopted:
            wait_status = find_wait_status(
                process.pid, process.pidfd
            )  # None: it is started again, and may leave
        else:
            wait_status = os.waitpid(process.pid, 0)[1]
        self._core.loop.remove(process.pidfd)
        os.close(process.pidfd)
        if wait_status == 0 and not self._unheard:
            self._forget()
            return
        self._look = True
        if self._clock() - process.born_s >= _LONG_LIFE_S or wait_status == 0:
            self._pause_s = _PAUSE_S
        self._start_later()

    def _start_later(self) -> None:
        self._core.loop.later(self._pause_s, self._start)
        self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S)

    def _forget(self) -> None:
        self._command, self._pause_s = {}, _PAUSE_S
        with step("keeper.forget-minder"):
            os.unlink(self._path)

    def release(self) -> None:
        """Another supervisor takes over; the minder goes on.  Before the connections are closed."""
        self._is_released = True
        if self._process is not None:
            self._core.loop.remove(self._process.pidfd)
            os.close(self._process.pidfd)
            self._process = None
