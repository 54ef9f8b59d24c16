"""What attaching a pod would do, found by doing it where it counts for nothing.

A thread of its own leaves for a new network namespace, makes there the bridges that the host has, and
attaches a pod that is another new namespace, with leases and notes in a directory that goes afterwards.
The messages are those of the real plugins (`netlink.socket.heard`), not a second description of them.
"""

import contextvars
import ipaddress
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from rundlet.errors import Error
from rundlet.kernel.namespace import CLONE_NEWNET, setns, unshare
from rundlet.netlink import address, link
from rundlet.netlink.address import IpInterface
from rundlet.netlink.socket import NetlinkSocket, heard
from rundlet.network.leases import DEFAULT_DATA_DIR
from rundlet.network.namespace import open_host_netns, open_route_socket
from rundlet.network.network import Network, NetworkSettings
from rundlet.network.pod import PodNetns, PodNetwork
from rundlet.spec.cni import NetworkConf

_LEASES = "leases"


class Rehearsal(NamedTuple):
    """`lines` are the netlink messages in their order, `ips` the addresses that the pod would get now."""

    lines: tuple[str, ...]
    ips: tuple[str, ...] = ()


class _Bridge(NamedTuple):
    name: str
    mac: str
    addresses: tuple[IpInterface, ...]


def rehearse_attach(settings: NetworkSettings, networks: Sequence[NetworkConf], pod: PodNetwork) -> Rehearsal:
    """Of a pod on these `networks`; plugins that are programs, or need the host's own interfaces, are only named."""
    kinds = [plugin.type for network in networks for plugin in network.plugins]
    foreign = [kind for kind in kinds if kind not in settings.builtin]
    if foreign:
        return Rehearsal(tuple(f"run the CNI plugin {kind} with ADD" for kind in kinds))
    with tempfile.TemporaryDirectory(prefix="rundlet-rehearsal-") as directory:
        _write_confs(directory, networks)
        scratch = settings._replace(
            conf_dir=f"{directory}/net.d",
            named_dir=f"{directory}/net.d",
            cache_dir=f"{directory}/cache",
            run_dir=f"{directory}/run",
        )
        bridges = [found for plugin in _list_plugins(networks) if (found := _read_bridge(plugin))]
        return _run_apart(lambda: _rehearse(scratch, bridges, pod))


def _list_plugins(networks: Sequence[NetworkConf]) -> list[dict[str, Any]]:
    return [plugin.raw for network in networks for plugin in network.plugins]


def _write_confs(directory: str, networks: Sequence[NetworkConf]) -> None:
    """The same networks with leases of their own, which are as those of the host."""
    os.mkdir(f"{directory}/net.d")
    for number, network in enumerate(networks):
        plugins = [_move_leases(plugin.raw, network.name, directory) for plugin in network.plugins]
        document = {"cniVersion": network.cni_version, "name": network.name, "plugins": plugins}
        with open(f"{directory}/net.d/{number:02}-{network.name}.conflist", "w", encoding="utf-8") as file:
            json.dump(document, file)


def _move_leases(plugin: dict[str, Any], name: str, directory: str) -> dict[str, Any]:
    ipam = plugin.get("ipam")
    if not isinstance(ipam, dict) or ipam.get("type") != "host-local":
        return plugin
    here = f"{ipam.get('dataDir') or DEFAULT_DATA_DIR}/{name}"
    if os.path.isdir(here):
        shutil.copytree(here, f"{directory}/{_LEASES}/{name}", dirs_exist_ok=True)
    return {**plugin, "ipam": {**ipam, "dataDir": f"{directory}/{_LEASES}"}}


def _read_bridge(plugin: dict[str, Any]) -> _Bridge | None:
    """The host's bridge of that name, if it is there."""
    if plugin.get("type") != "bridge":
        return None
    name = str(plugin.get("bridge") or "cni0")
    with NetlinkSocket() as host:
        found = link.find_link(host, name)
        if found is None:
            return None
        answers = host.dump(address.list_addresses(found.ifindex))
    own = (address.parse_address(answer).ip for answer in answers)
    return _Bridge(name, found.mac, tuple(ip for ip in own if not ipaddress.ip_interface(ip).is_link_local))


def _run_apart(action: Callable[[], Rehearsal]) -> Rehearsal:
    """By a thread that is in a new network namespace and ends there."""
    answers: list[Rehearsal] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            unshare(CLONE_NEWNET)
            answers.append(action())
        except (Error, OSError) as error:
            failed.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="rehearsal")
    thread.start()
    thread.join()
    if failed:
        return Rehearsal((f"attach the pod: this cannot be foreseen here: {failed[0]}",))
    return answers[0]


def _rehearse(settings: NetworkSettings, bridges: Sequence[_Bridge], pod: PodNetwork) -> Rehearsal:
    with ExitStack() as stack:
        outside = _closing(stack, open_host_netns())
        for bridge in bridges:
            _make_bridge(bridge)
        unshare(CLONE_NEWNET)
        inside = _closing(stack, open_host_netns())
        path = f"/proc/self/fd/{inside}"
        route = _closing(stack, open_route_socket(path))
        setns(outside, CLONE_NEWNET)
        lines: list[str] = []
        token = heard.set(lines)
        try:
            attached = Network(settings).attach(pod, PodNetns(path, inside, route))
        finally:
            heard.reset(token)
    return Rehearsal(tuple(lines), attached.ips)


def _closing(stack: ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _make_bridge(bridge: _Bridge) -> None:
    with NetlinkSocket() as host:
        host.execute(link.new_bridge(bridge.name, mac=bridge.mac))
        found = link.parse_link(host.query(link.get_link(bridge.name)))
        host.execute(
            link.set_up(found.ifindex), *(address.new_address(found.ifindex, ip) for ip in bridge.addresses)
        )
