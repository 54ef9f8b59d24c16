"""A machine for programs that use rundlet as a library, whoever runs them.

As root it is a Machine in this process.  As an ordinary user it lives in a process in the user's
namespaces (`rundlet.rootless.inside`), so that the program keeps its user, its mounts and its threads:
what it has here looks and works like a Machine, a question takes some 0.1 ms more.
"""

import atexit
import threading
from collections.abc import Sequence
from typing import Any, Self, cast

from rundlet.local.machine import Machine
from rundlet.local.settings import MachineSettings, read_machine_settings
from rundlet.rootless.enter import must_enter
from rundlet.rootless.inside import InsideProcess, own_command, serve


def open_machine(settings: MachineSettings | None = None) -> Machine:
    """Opened on first use; raises InvalidArgument when the configuration file is wrong."""
    chosen = settings or read_machine_settings()
    return cast("Machine", OutsideMachine(chosen)) if must_enter() else Machine(chosen, attends=True)


_guard = threading.Lock()
_usual: Machine | None = None


def usual_machine() -> Machine:
    """The one that everything shares which is given none: opened on first use, closed when the interpreter ends.

    Kept open it keeps the keeper, and what comes next finds that warm.
    """
    global _usual  # noqa: PLW0603 - one for the process, as the functions of the package have no object
    with _guard:
        if _usual is None:
            _usual = open_machine()
            atexit.register(_usual.close)
        return _usual


class OutsideMachine:
    """`local.machine.Machine`, in a process of its own.  Thread-safe.

    A process that has ended is replaced by the next question, and so is that of the process that this one
    is a fork of.  Iterators and other objects that came of it end with it.
    """

    def __init__(self, settings: MachineSettings, command: Sequence[str] = ()) -> None:
        """`command` starts the process, with a descriptor's number as one more word; usually this interpreter does."""
        self.settings = settings
        self._command = command or own_command(__name__)
        self._starting = threading.Lock()
        self._inside: InsideProcess | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._find().root, name)

    def _find(self) -> InsideProcess:
        with self._starting:
            if self._inside is None or not self._inside.is_ours():
                if self._inside is not None:
                    self._inside.close()
                self._inside = InsideProcess(self._command, self.settings)
            return self._inside

    def close(self) -> None:
        with self._starting:
            if self._inside is not None:
                self._inside.close()
                self._inside = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(control_fd: int) -> None:
    """The process inside."""
    serve(control_fd, _open)


def _open(settings: MachineSettings) -> Machine:
    machine = Machine(settings, attends=True)
    machine.enter()
    return machine
