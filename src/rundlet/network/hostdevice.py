"""host-device: a device of the host moves into the pod, and back when the pod goes.

It is found by name, MAC, sysfs path or PCI address.  Inside, its alias holds the
name that it had on the host: a device whose pod has died without DEL comes back
by itself with the kernel's name for it (physical devices do; virtual ones die).
"""

import os
from collections.abc import Callable
from typing import Any

from msgspec import Struct, structs

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound
from rundlet.netlink import link
from rundlet.netlink.link import Link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call, Plugin
from rundlet.network.ipam import Ipam
from rundlet.network.namespace import open_host_netns, open_route_socket
from rundlet.network.podlink import check_pod, configure_pod
from rundlet.spec import json
from rundlet.spec.cni import Interface, Result
from rundlet.spec.document import drop_nulls


class _RuntimeConfig(Struct, frozen=True, rename={"device_id": "deviceID"}):
    device_id: str = ""


class _Conf(
    Struct,
    frozen=True,
    rename={"kernel_path": "kernelpath", "pci_address": "pciBusID", "runtime_config": "runtimeConfig"},
):
    """Exactly one of the first four, or a PCI address by capability deviceID."""

    device: str = ""
    hwaddr: str = ""
    kernel_path: str = ""
    pci_address: str = ""
    ipam: dict[str, Any] = {}
    runtime_config: _RuntimeConfig = _RuntimeConfig()


class HostDevice(Builtin):
    """`find_plugin` gives the IPAM plugin for its type."""

    def __init__(self, find_plugin: Callable[[str], Plugin]) -> None:
        self._ipam = Ipam(find_plugin)

    def add(self, call: Call) -> Result:
        conf = _parse(call)
        pod = call.attachment
        with NetlinkSocket() as host:
            device = _find_device(call, conf, host)
            given = self._ipam.add(call)
            host.execute(
                link.set_down(device.ifindex),
                link.set_alias(device.name, device.name),
                link.move_link(device.ifindex, pod.ifname, netns_fd=pod.netns_fd),
            )
        configure_pod(call, given.ips, given.routes)
        return Result(
            interfaces=(Interface(pod.ifname, device.mac, sandbox=pod.netns_path),),
            ips=tuple(structs.replace(ip, interface=0) for ip in given.ips),
            routes=given.routes,
            dns=given.dns,
        )

    def delete(self, call: Call) -> None:
        _move_back(call)
        self._ipam.delete(call)

    def check(self, call: Call) -> None:
        self._ipam.check(call)
        check_pod(call)

    def status(self, call: Call) -> None:
        """A device that is away is a pod's: no reason to say that nobody could be attached."""
        _parse(call)
        self._ipam.status(call)

    def collect(self, call: Call) -> None:
        self._ipam.collect(call)


def _parse(call: Call) -> _Conf:
    conf = json.convert(drop_nulls(call.conf), _Conf, call.what)
    conf = structs.replace(conf, pci_address=conf.runtime_config.device_id or conf.pci_address)
    if not any((conf.device, conf.hwaddr, conf.kernel_path, conf.pci_address)):
        raise InvalidArgument(f"{call.what}: none of device, hwaddr, kernelpath, pciBusID names a device")
    return conf


def _find_device(call: Call, conf: _Conf, host: NetlinkSocket) -> Link:
    if conf.hwaddr:
        wanted = conf.hwaddr.lower()
        for found in map(link.parse_link, host.dump(link.list_links())):
            if found.mac == wanted:
                return found
        raise FailedPrecondition(f"{call.what}: no interface of this host has hwaddr {conf.hwaddr}")
    name = conf.device or _find_by_path(call, conf)
    device = link.find_link(host, name)
    if device is None:
        raise FailedPrecondition(f"{call.what}: this host has no interface {name}")
    return device


def _find_by_path(call: Call, conf: _Conf) -> str:
    """sysfs lists a device's interfaces below its own directory."""
    path = conf.kernel_path
    if not path:
        if "/" in conf.pci_address:
            raise InvalidArgument(f"{call.what}: pciBusID {conf.pci_address!r} is not a PCI address")
        path = f"/sys/bus/pci/devices/{conf.pci_address}"
    elif not os.path.normpath(path).startswith("/sys/devices/"):
        raise InvalidArgument(f"{call.what}: kernelpath {path} is not below /sys/devices")
    try:
        return min(os.listdir(f"{path}/net"))
    except (OSError, ValueError) as error:
        raise FailedPrecondition(f"{call.what}: {path} has no network interface") from error


def _move_back(call: Call) -> None:
    """Idempotent; a device that is back, or went with its namespace, is no error."""
    try:
        route_fd = open_route_socket(call.attachment.netns_path)
    except NotFound:
        return
    with NetlinkSocket(fd=route_fd, owned=True) as pod:
        device = link.find_link(pod, call.attachment.ifname)
        if device is None:
            return
        home = open_host_netns()
        try:
            # Cleared after the move: the next pod's is its own.
            name = device.alias or device.name
            pod.execute(link.set_down(device.ifindex), link.move_link(device.ifindex, name, netns_fd=home))
        finally:
            os.close(home)
    with NetlinkSocket() as host:
        host.execute(link.set_alias(name, ""))
