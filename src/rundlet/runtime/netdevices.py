"""Network devices of the runtime's namespace that become the container's (config-linux.md#network-devices)."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from rundlet.errors import FailedPrecondition
from rundlet.kernel import namespace
from rundlet.netlink.address import IpInterface, list_addresses, new_address, parse_address
from rundlet.netlink.link import get_link, move_link, parse_link, set_up
from rundlet.netlink.socket import NetlinkSocket
from rundlet.plan import steps
from rundlet.runtime.context import Context


def move_devices(devices: Sequence[steps.MoveNetDevice], netns_fd: int) -> None:
    """Move all, with their addresses; afterwards this process is in the other namespace.

    Raises rundlet's errors naming the device that is missing or cannot be moved,
    and OSError when the other namespace cannot be entered.
    """
    addresses: dict[str, list[IpInterface]] = {}
    with NetlinkSocket() as route:
        for device in devices:
            link = parse_link(route.query(get_link(device.name)))
            found = map(parse_address, route.dump(list_addresses(link.ifindex)))
            addresses[device.new_name] = [
                address.ip for address in found if address.ifindex == link.ifindex and not address.link_local
            ]
            route.execute(move_link(link.ifindex, device.new_name, netns_fd=netns_fd))
    namespace.setns(netns_fd, namespace.CLONE_NEWNET)
    with NetlinkSocket() as route:
        for name, ips in addresses.items():
            link = parse_link(route.query(get_link(name)))
            route.execute(*(new_address(link.ifindex, ip) for ip in ips), set_up(link.ifindex))


def _move(step: steps.MoveNetDevice, _: Context) -> None:
    raise FailedPrecondition(f"{step.describe()}: it needs a helper in the runtime's namespace")


def target_namespace(entry: Sequence[steps.Step], pid: int) -> int:
    """The network namespace to move to, open: the joined one, or that of the new process `pid`."""
    paths = [step.path for step in entry if isinstance(step, steps.JoinNamespace) and step.kind == "network"]
    return os.open(paths[0] if paths else f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


EXECUTORS: dict[type, Callable[[Any, Context], None]] = {steps.MoveNetDevice: _move}
