"""Intel RDT: classes of service below /sys/fs/resctrl (config-linux.md#intelrdt)."""

import errno
import os
from collections.abc import Callable
from typing import Any

from rundlet.errors import FailedPrecondition
from rundlet.plan import steps
from rundlet.runtime.context import Context, write_file

ROOT = "/sys/fs/resctrl"


def _join(step: steps.JoinResctrl, _: Context) -> None:
    if not os.path.exists(f"{ROOT}/tasks"):
        raise FailedPrecondition(
            f"linux.intelRdt: {ROOT} is not mounted on this host", hint="it needs a processor with resctrl"
        )
    group = f"{ROOT}/{step.group}" if step.group else ROOT
    _make(group, step.schemata)
    for line in step.schemata:
        write_file(f"{group}/schemata", f"{line}\n")
    write_file(f"{group}/tasks", str(os.getpid()))
    if step.monitoring:
        monitor = f"{group}/mon_groups/{step.monitoring}"
        os.makedirs(monitor, exist_ok=True)
        write_file(f"{monitor}/tasks", str(os.getpid()))


def _make(group: str, schemata: tuple[str, ...]) -> None:
    """A group without a schema must be there already: somebody else has set it up."""
    try:
        os.mkdir(group, 0o755)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FailedPrecondition("linux.intelRdt: no class of service is left on this host") from error
        raise
    if not schemata:
        os.rmdir(group)
        raise FailedPrecondition(f"linux.intelRdt.closID: {group} does not exist, and no schemata are given")


def remove_groups(container_id: str) -> None:
    """The class and the monitoring groups that are the container's own, when it has gone; they are known by its id.

    Classes with a name of their own stay: whoever named them may share them.
    """
    if not os.path.exists(f"{ROOT}/tasks"):
        return
    with os.scandir(ROOT) as entries:
        classes = [ROOT, *(entry.path for entry in entries if entry.is_dir())]
    for path in (*(f"{name}/mon_groups/{container_id}" for name in classes), f"{ROOT}/{container_id}"):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {steps.JoinResctrl: _join}
