"""What the steps of one new process hand on to each other."""

import os
import socket

from rundlet.errors import FailedPrecondition
from rundlet.plan.container import Hooks
from rundlet.plan.steps import Step
from rundlet.runtime.terminal import Terminal


class Context:
    """The rootfs by descriptor, the terminal, and what a helper has prepared.

    `trees` are detached mounts for the rootfs and every bind, in the order of the steps
    (`rundlet.runtime.trees`); None where the process finds them by their paths itself.
    """

    __slots__ = ("hooks", "is_shared", "report", "root_fd", "terminal", "trees")

    def __init__(self, report: socket.socket | None = None, hooks: Hooks | None = None) -> None:
        self.root_fd = -1
        self.is_shared = False
        self.terminal: Terminal | None = None
        self.trees: list[int] | None = None
        self.report = report
        self.hooks = hooks


def refusal(step: Step, error: OSError) -> FailedPrecondition:
    """The kernel's refusal of a step: what was to be done, why not, and where."""
    about = f" ({error.filename})" if error.filename else ""
    return FailedPrecondition(f"{step.describe()}: {os.strerror(error.errno or 0).lower()}{about}")


def write_file(path: str, text: str) -> None:
    """One write(2) into a file of the kernel's; OSError names the file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)
