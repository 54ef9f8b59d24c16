"""Hooks of the runtime's own namespaces, run beside the supervisor, which never waits for them.

A container's hooks stay in a file of its directory: a later supervisor has to run
poststart and poststop, too.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

from rundlet.errors import Error, from_code
from rundlet.keeper.container import Container
from rundlet.keeper.files import read_json, write_json
from rundlet.keeper.loop import Loop
from rundlet.plan.container import Hooks, decode_hooks

_FILE = "hooks"
Then = Callable[[Error | None], None]


def save_hooks(container: Container, hooks: Hooks | None) -> None:
    if hooks is not None:
        write_json(f"{container.directory}/{_FILE}", hooks)


def read_hooks(container: Container) -> Hooks | None:
    """None for a container without; it must have its directory still."""
    raw = read_json(f"{container.directory}/{_FILE}")
    return decode_hooks(raw) if raw is not None else None


def start_kinds(
    loop: Loop, hooks: Hooks, kinds: Sequence[str], status: str, pid: int, then: Then, *, go_on: bool = False
) -> None:
    """Run the hooks of `kinds`, in this order; `then` hears what went wrong, or None."""
    from rundlet.runtime.hooks import Group, read_outcome, start_hooks

    lists = {"prestart": hooks.prestart, "createRuntime": hooks.create_runtime,
             "poststart": hooks.poststart, "poststop": hooks.poststop}  # fmt: skip
    state: dict[str, Any] = {**hooks.state, "status": status}
    if pid:
        state["pid"] = pid
    running = start_hooks([Group(kind, lists[kind]) for kind in kinds], state, go_on=go_on)

    def on_end() -> None:
        loop.remove(running.socket.fileno())
        outcome = read_outcome(running)
        os.waitpid(running.pid, 0)
        os.close(running.pidfd)
        then(from_code(*outcome) if outcome else None)

    loop.add(running.socket.fileno(), on_end)
