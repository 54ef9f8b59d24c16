"""What every part of the supervisor works on."""

import os
from typing import NamedTuple

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout
from rundlet.errors import InvalidArgument, NotFound
from rundlet.keeper.container import Container
from rundlet.keeper.link import AnchorLink
from rundlet.keeper.loop import Loop
from rundlet.keeper.server import Request
from rundlet.keeper.stream import Scratch

_ID_MAX = 128
_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


def check_id(text: str) -> str:
    """An id becomes a directory name."""
    if not 0 < len(text) <= _ID_MAX or text[0] in ".-" or set(text) - _ID_CHARACTERS:
        raise InvalidArgument(
            f"keeper: {text!r} cannot be an id", hint="letters, digits, '_', '.', '-'; at most 128"
        )
    return text


class Core(NamedTuple):
    """The containers by id, and what they stand on."""

    directory: str
    loop: Loop
    layout: Layout
    scratch: Scratch
    anchor: AnchorLink
    containers: dict[str, Container]

    def find(self, request: Request) -> Container:
        """The container that a request names; NotFound."""
        container_id = request.args["container_id"]
        try:
            return self.containers[container_id]
        except KeyError:
            raise NotFound(f"container {container_id} is not known to the keeper") from None

    def group(self, path: str) -> Group | None:
        """None for a container without a cgroup of its own, and where there are none; slice:prefix:name is one that systemd makes."""
        if not self.layout.mounts:
            return None
        if ":" in path and not path.startswith("/"):
            from rundlet.cgroup.systemd import open_group

            return open_group(self.layout, path)
        return Group(self.layout, path) if path else None

    def new_container(self, container_id: str, cgroup: str) -> Container:
        """Only the object, with what it tells the anchor."""
        container = Container(
            container_id,
            f"{self.directory}/containers/{container_id}",
            self.group(cgroup),
            self.loop,
            self.scratch,
        )
        container.on_stdin_closed = lambda: self.anchor.drop(container_id, "stdin")
        container.audience.on_leave = lambda name: self.anchor.drop(container_id, name)
        return container

    def hold(self, container: Container) -> None:
        """What must outlive this process goes to the anchor, too."""
        self.anchor.put(container.id, container.fds())

    def container_directories(self) -> list[str]:
        """Names under containers/, also of those half made."""
        top = f"{self.directory}/containers"
        return os.listdir(top) if os.path.isdir(top) else []
