"""What one plugin is asked: the CNI parameters and configuration of one call (CNI SPEC.md §3)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from rundlet.errors import InvalidArgument
from rundlet.spec.cni import IpConfig, Result

VALID_ATTACHMENTS = "cni.dev/valid-attachments"

_TAG = "rundlet"
# What the comment of an nftables element has room for; a link's alias has a little more.
_TAG_MAX_BYTES = 253


class Owner(NamedTuple):
    """An attachment by its names, as leases and GC know it."""

    container_id: str
    ifname: str


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

    @property
    def owner(self) -> Owner:
        return Owner(self.attachment.container_id, self.attachment.ifname)

    @property
    def tag(self) -> str:
        """What marks an object of the kernel as made for this attachment, for people and for GC."""
        tag = " ".join((_TAG, self.network, *self.owner))
        if len(tag.encode()) > _TAG_MAX_BYTES:
            raise InvalidArgument(f"{self.what}: the names of network and container are too long together")
        return tag

    @property
    def valid(self) -> frozenset[Owner]:
        """In GC: the attachments that are to stay."""
        try:
            return frozenset(
                Owner(one["containerID"], one["ifname"]) for one in self.conf.get(VALID_ATTACHMENTS) or ()
            )
        except (TypeError, KeyError) as error:
            raise InvalidArgument(f"{self.what}: {VALID_ATTACHMENTS}: wrong form") from error

    def find_stale(self) -> Callable[[str], bool]:
        """In GC: a test whether a tag names an attachment of this network that is not valid any more."""
        valid = {" ".join((_TAG, self.network, *owner)) for owner in self.valid}
        prefix = f"{_TAG} {self.network} "
        # Three words behind the mark; a tag of two is what the pods of a network share.
        return lambda tag: tag.startswith(prefix) and tag.count(" ") == 3 and tag not in valid


class Plugin(Protocol):
    """A CNI plugin, in this process or as a program; errors are those of `rundlet.errors`."""

    def add(self, call: Call) -> Result: ...

    def delete(self, call: Call) -> None:
        """Undo `add`; what is not there is no error."""

    def check(self, call: Call) -> None:
        """Raises when what `add` made does not stand any more."""

    def status(self, call: Call) -> None:
        """Raises when `add` could not be done now."""

    def collect(self, call: Call) -> None:
        """GC: remove what attachments of the network that are not in `call.valid` have left."""


class Builtin:
    """A plugin of this process that needs no more than `add`; each verb is for overriding."""

    def add(self, call: Call) -> Result:
        raise NotImplementedError

    def delete(self, call: Call) -> None:
        pass

    def check(self, call: Call) -> None:
        pass

    def status(self, call: Call) -> None:
        pass

    def collect(self, call: Call) -> None:
        pass

    def retire(self, call: Call) -> None:
        """The network's last pod has left: undo what its pods shared.  Called under `call.lock`."""


def pod_ips(result: Result) -> list[IpConfig]:
    """The addresses of interfaces inside the pod; those of no interface are taken for the pod's."""
    return [ip for ip in result.ips if ip.interface is None or result.interfaces[ip.interface].sandbox]


def require_previous(call: Call) -> Result:
    """The result that a plugin further down the chain works on."""
    if call.previous is None:
        raise InvalidArgument(f"{call.what}: needs a plugin before it in the list (no prevResult)")
    return call.previous
