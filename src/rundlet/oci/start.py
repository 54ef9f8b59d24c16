"""`start`: open a created container's gate."""

import os
from typing import TYPE_CHECKING

from rundlet.errors import Error, FailedPrecondition, from_code
from rundlet.oci import containers, groups, json
from rundlet.oci.arguments import Arguments
from rundlet.oci.containers import Container
from rundlet.oci.context import Context

if TYPE_CHECKING:
    from rundlet.oci.notify import Relay

_ANSWER_MAX_BYTES = 1 << 16


def start(context: Context, arguments: Arguments) -> int:
    with containers.locked(context.root, arguments.words[0]) as container:
        start_container(container)
    return 0


def start_container(container: Container) -> None:
    """Raises FailedPrecondition unless it is created; else what keeps its program from running."""
    status = container.status()
    if status != "created":
        raise FailedPrecondition(
            f'container "{container.record.id}": cannot start a container in the {status} state'
        )
    relay = _open_relay(container) if os.environ.get("NOTIFY_SOCKET") else None
    open_gate(container)
    _run_poststart(container)
    if relay is not None:
        relay.pass_on()


def _open_relay(container: Container) -> "Relay | None":
    """Readiness is passed on from a socket that `create` gave to the container."""
    from rundlet.oci import notify

    return notify.Relay(container) if notify.has_socket(container) else None


def _run_poststart(container: Container) -> None:
    """A failing hook ends the container (runtime.md#lifecycle)."""
    if b'"hooks"' not in container.read_config():
        return
    from rundlet.oci.bundle import read_hooks
    from rundlet.oci.destruction import kill_first

    hooks = read_hooks(container)
    if hooks is None or not hooks.poststart:
        return
    from rundlet.runtime.hooks import Group, run_hooks

    state = {**hooks.state, "status": "running", "pid": container.record.pid}
    try:
        run_hooks([Group("poststart", hooks.poststart)], state)
    except Error:
        kill_first(container, groups.group_of(container.record))
        raise


def open_gate(container: Container) -> None:
    """Returns when the program runs."""
    gate, answer = (f"{container.directory}/{name}" for name in (containers.GATE, containers.ANSWER))
    try:
        answer_fd = os.open(answer, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        gate_fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:  # ENXIO: nobody holds it any more
        raise FailedPrecondition(
            f'container "{container.record.id}": cannot start a container in the stopped state'
        ) from error
    os.unlink(gate)
    os.write(gate_fd, b"0")
    os.close(gate_fd)
    os.set_blocking(answer_fd, True)
    message = os.read(answer_fd, _ANSWER_MAX_BYTES)
    os.close(answer_fd)
    os.unlink(answer)
    if message:
        raise from_code(*json.read(message, "answer")["error"])
