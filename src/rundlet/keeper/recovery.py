"""A new supervisor takes over what an earlier one left running.

    state file says     and                              then
    ------------------  -------------------------------  ------------------------------
    nothing, creating                                    killed, cleared away
    created             it waits at its gate             created
    starting            it may wait at its gate          the gate is opened (again); running
    created … running   its process has gone             exit status from the anchor or unknown
    any                 an exit file                     stopped

Descriptors come from the anchor; where it has died with the supervisor, the FIFOs
are opened anew, and what a container wrote and left in them is still there as long
as the container lives.  A terminal is lost then: the container gets SIGHUP.
"""

import os
import signal
import time

from rundlet.errors import Error
from rundlet.keeper.container import EXIT_FILE, STATE_FILE, Container
from rundlet.keeper.core import Core
from rundlet.keeper.ending import Ending
from rundlet.keeper.files import read_json, remove_tree
from rundlet.keeper.hold import Store
from rundlet.keeper.identity import open_process
from rundlet.keeper.journal import Batch
from rundlet.keeper.protocol import ExitRecord, LogLimit


def restore_containers(core: Core, ending: Ending, store: Store) -> None:
    """All of them, with their streams, in the state they are in by now."""
    for name in core.container_directories():
        container = _read_container(core, name)
        if container is not None:
            core.containers[container.id] = container
    for container in list(core.containers.values()):
        _reopen(core, container, store.get(container.id, {}))
    _settle_batch(core)
    for container_id in store.keys() - core.containers.keys():
        core.anchor.drop(container_id)
    ending.take_exits(core.anchor.sync())
    for container in list(core.containers.values()):
        _resume(container, ending)


def _read_container(core: Core, name: str) -> Container | None:
    """As its files tell it; None when nobody can know what it was to be."""
    directory = f"{core.directory}/containers/{name}"
    saved = read_json(f"{directory}/{STATE_FILE}")
    if saved is None:
        remove_tree(directory)
        return None
    container = core.new_container(saved["id"], saved["cgroup"])
    container.adopted = True
    container.status = saved["status"]
    container.pid = saved["pid"]
    container.start_time = saved["start_time"]
    container.started_at_ns = saved["started_at_ns"]
    container.stdin_mode = saved["stdin"]
    exit_fields = read_json(f"{directory}/{EXIT_FILE}")
    if exit_fields is not None:
        container.exit = ExitRecord(*exit_fields)
        container.status = "stopped"
    else:
        container.log.open(saved["log_path"], LogLimit(*saved["log_limit"]))
    return container


def _reopen(core: Core, container: Container, held: dict[str, int]) -> None:
    container.audience.restore(held)
    if container.exit is not None:
        container.audience.end(container.exit)
        for fd in held.values():
            os.close(fd)
        core.anchor.drop(container.id)
        return
    container.pidfd = held.get("pidfd", -1)
    if container.pidfd < 0:
        container.pidfd = open_process(container.pid, container.start_time)
    if container.status == "creating":
        return
    for name in ("stdout", "stderr"):
        if name in held or os.path.exists(f"{container.directory}/{name}"):
            container.open_stream(name, held.pop(name, -1))
    if "terminal" in held:
        container.open_terminal(held["terminal"])
    elif container.stdin_mode:
        stdin = held.get("stdin", -1)
        path = f"{container.directory}/stdin"
        container.stdin.open(stdin if stdin >= 0 else os.open(path, os.O_RDWR | os.O_CLOEXEC))
    core.hold(container)


def _settle_batch(core: Core) -> None:
    """The batch that was between FIFO and log when the last supervisor was killed."""
    batch = core.scratch.journal.read()
    if batch is not None:
        _finish_batch(core, batch)
    core.scratch.journal.end()


def _finish_batch(core: Core, batch: Batch) -> None:
    container = core.containers.get(batch.container_id)
    if container is None:
        return
    name = "stderr" if batch.channel == 2 else "stdout"
    stream = container.streams.get(name)
    if stream is not None:
        stream.settle(batch)


def _resume(container: Container, ending: Ending) -> None:
    if container.exit is not None:
        return
    if container.status == "creating":
        _clear_away(container, ending)
        return
    if container.pidfd < 0:
        ending.finish(container, None, time.time_ns())
        return
    if container.status == "starting":
        container.status = "running"
        try:
            container.open_gate()
        except OSError:
            pass  # it is through
    container.listen()
    ending.watch_process(container)
    ending.watch_memory(container)


def _clear_away(container: Container, ending: Ending) -> None:
    """Its process has died, or will when it wants to report; or it waits at the gate, in its cgroup."""
    if not ending.may_destroy(container):
        ending.before_destroy(container)
        return
    if container.pidfd >= 0:
        container.send_signal(signal.SIGKILL)
    if container.group is not None:
        try:
            container.group.kill()
        except Error:
            pass  # told again by the cgroup that stays
    ending.destroy(container)
