"""What one plugin is asked: the CNI parameters and configuration of one call (CNI SPEC.md §3)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from rundlet.spec.cni import Result


class Attachment(NamedTuple):
    """One interface of one pod.

    `netns_path` is "" when the namespace is gone.  `netns_fd` and `route_fd`,
    a NETLINK_ROUTE socket made inside the namespace, are -1 on the way down.
    `args` become CNI_ARGS, `capabilities` the runtimeConfig of plugins that want them.
    """

    container_id: str
    ifname: str
    netns_path: str = ""
    netns_fd: int = -1
    route_fd: int = -1
    args: tuple[tuple[str, str], ...] = ()
    capabilities: Mapping[str, Any] = {}


class Call(NamedTuple):
    """One plugin's turn: `conf` is its configuration with name, cniVersion, runtimeConfig and prevResult.

    `lock` holds the network still among threads and processes; it is for changing
    what pods share (bridge, masquerade), after a look without it found need to.
    """

    network: str
    version: str
    type: str
    conf: dict[str, Any]
    attachment: Attachment
    previous: Result | None
    lock: Callable[[], AbstractContextManager[None]]

    @property
    def what(self) -> str:
        return f"network {self.network}: plugin {self.type}"


class Plugin(Protocol):
    """A CNI plugin, in this process or as a program; errors are those of `rundlet.errors`."""

    def add(self, call: Call) -> Result: ...

    def delete(self, call: Call) -> None:
        """Undo `add`; what is not there is no error."""

    def check(self, call: Call) -> None: ...
