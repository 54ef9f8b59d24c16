"""Does the steps of `rundlet.plan.steps`, in a process that is to become a container.

Everything here runs in the new process, single-threaded, with the host's /proc
and /dev still in sight until pivot_root.  Nothing is decided here.  What few
containers ask for is imported only when a plan has it, before the first step.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from rundlet.plan import attributes, steps
from rundlet.runtime import devices, mounts, namespaces, rootfs
from rundlet.runtime.context import Context
from rundlet.step import step as named

Executor = Callable[[Any, Context], None]

EXECUTORS: dict[type, Executor] = {
    **namespaces.EXECUTORS,
    **rootfs.EXECUTORS,
    **mounts.EXECUTORS,
    **devices.EXECUTORS,
}

# Each of these modules has a dict EXECUTORS of its own.
LATE: dict[type, str] = {
    steps.AwaitHooks: "rundlet.runtime.hooks",
    steps.RunHooks: "rundlet.runtime.hooks",
    steps.JoinResctrl: "rundlet.runtime.resctrl",
    steps.MoveNetDevice: "rundlet.runtime.netdevices",
    attributes.SetScheduler: "rundlet.runtime.attributes",
    attributes.SetIoPriority: "rundlet.runtime.attributes",
    attributes.SetPersonality: "rundlet.runtime.attributes",
    attributes.SetMemoryPolicy: "rundlet.runtime.attributes",
}


def load(planned: Iterable[steps.Step]) -> None:
    """Import what these steps need: later the host's files are out of sight, or out of reach of a container's root."""
    for step in planned:
        if type(step) not in EXECUTORS:
            EXECUTORS.update(_import(LATE[type(step)]).EXECUTORS)
        elif isinstance(step, steps.Mount) and step.copy_up:
            _import("rundlet.runtime.copyup")


def _import(name: str) -> Any:
    """importlib.import_module, which is a package to import itself."""
    __import__(name)
    return sys.modules[name]


def execute(step: steps.Step, context: Context) -> None:
    """Do one step; OSError when the kernel refuses."""
    with named(type(step).__name__):
        EXECUTORS[type(step)](step, context)
