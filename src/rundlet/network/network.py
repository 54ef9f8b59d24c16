"""Pods on their network: what the engine calls.

Attaching makes lo up, notes the attachment in the cache, runs the chain, and
notes the result; when a plugin fails, the chain's DEL undoes the rest.
Detaching needs nothing but the cache and the leases: any process can do it.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

from rundlet.errors import (
    AlreadyExists,
    DataLoss,
    Error,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from rundlet.network.bridge import Bridge
from rundlet.network.cache import Cache, Entry
from rundlet.network.call import Attachment, Plugin
from rundlet.network.chain import Chain
from rundlet.network.conf import ConfDirectory, Loaded
from rundlet.network.hostlocal import HostLocal
from rundlet.network.leases import storage_error
from rundlet.network.loopback import Loopback, set_loopback_up
from rundlet.network.namespace import open_route_socket
from rundlet.network.program import Program
from rundlet.spec import cni
from rundlet.spec.cni import NetworkConf, Result

IFNAME = "eth0"

# CNI SPEC.md: the form of CNI_CONTAINERID; it becomes a part of file names.
_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

_LOOPBACK = NetworkConf("cni-loopback", "0.4.0", (cni.Plugin("loopback", {}, {"type": "loopback"}),))


class NetworkSettings(NamedTuple):
    """`builtin`: plugin types done in this process; all others are programs in `bin_dirs`.

    A plugin program that takes longer than `plugin_timeout_s` is killed.
    """

    conf_dir: str = "/etc/cni/net.d"
    bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    cache_dir: str = "/var/lib/cni"
    builtin: tuple[str, ...] = ("bridge", "host-local", "loopback")
    plugin_timeout_s: float = 60.0


class NetworkStatus(NamedTuple):
    """CRI's NetworkReady: `reason` is one word for machines, `message` one line."""

    ready: bool
    reason: str = ""
    message: str = ""


class PodNetns(NamedTuple):
    """A pod's network namespace; the file descriptors stay the caller's.

    `route_fd` is a NETLINK_ROUTE socket made inside the namespace, -1 when
    there is none (one is then made, which takes 50 ms).
    """

    path: str
    netns_fd: int
    route_fd: int = -1


class HostPort(NamedTuple):
    """Traffic to `host_port` of `host_ip` ("" is any) goes to the pod's `container_port`."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


class PodNetwork(NamedTuple):
    """What the network needs to know of a pod; `port_mappings` with host_port 0 ask for nothing."""

    pod_id: str
    name: str
    namespace: str
    uid: str
    port_mappings: tuple[HostPort, ...] = ()
    annotations: Mapping[str, str] = {}


class Attached(NamedTuple):
    """`ips` are the pod's addresses without prefix length, the primary first."""

    ips: tuple[str, ...]
    result: Result


class Network:
    """The network of all pods of an engine; thread-safe, and several processes may share its directories."""

    def __init__(self, settings: NetworkSettings) -> None:
        """InvalidArgument when `builtin` names what is not built in."""
        known: dict[str, Plugin] = {
            "bridge": Bridge(self._find_plugin),
            "host-local": HostLocal(),
            "loopback": Loopback(),
        }
        for name in settings.builtin:
            if name not in known:
                raise InvalidArgument(f"CNI plugin {name} is not built in", hint=f"{', '.join(known)} are")
        self._builtin = {name: known[name] for name in settings.builtin}
        self._program = Program(settings.bin_dirs, timeout_s=settings.plugin_timeout_s)
        self._directory = ConfDirectory(settings.conf_dir)
        self._cache = Cache(settings.cache_dir)

    def status(self) -> NetworkStatus:
        """Could a pod be attached now?"""
        try:
            self._require_plugins(self._load())
        except Error as error:
            return NetworkStatus(ready=False, reason="NetworkPluginNotReady", message=error.message)
        return NetworkStatus(ready=True)

    def attach(self, pod: PodNetwork, netns: PodNetns) -> Attached:
        """Put the pod on the network; whatever fails leaves nothing attached.

        Raises AlreadyExists for a pod that is attached, ResourceExhausted when no
        address is left, Unavailable without a network configuration, and what
        the plugins raise.
        """
        network = self._load()
        # Before anything is made: DEL would miss the same program and could never end.
        self._require_plugins(network)
        if not _CONTAINER_ID.fullmatch(pod.pod_id):
            raise InvalidArgument(f"pod id {pod.pod_id!r} cannot be a CNI container id")
        with ExitStack() as stack:
            attachment = self._attachment(network, pod, _complete(netns, stack))
            self._clear(pod.pod_id)
            self._loopback_up(attachment)
            result = self._add(network, attachment)
        return Attached(
            tuple(str(ipaddress.ip_interface(ip.address).ip) for ip in _pod_ips(result, netns)), result
        )

    def detach(self, pod: PodNetwork, netns_path: str) -> None:
        """Take the pod off every network; idempotent, and `netns_path` need not exist any more.

        After an error the attachment is still noted, so that a later call can finish.
        """
        present = netns_path if os.path.exists(netns_path) else ""
        for entry in self._find(pod.pod_id):
            self._undo(entry._replace(attachment=entry.attachment._replace(netns_path=present)))

    def check(self, pod: PodNetwork, netns: PodNetns) -> None:
        """Does everything that `attach` made still stand?  NotFound for a pod that is not attached."""
        entries = self._cache.find(pod.pod_id, IFNAME)
        if not entries:
            raise NotFound(f"pod {pod.pod_id} is attached to no network")
        with ExitStack() as stack:
            whole = _complete(netns, stack)
            for network, attachment, result in entries:
                inside = attachment._replace(
                    netns_path=whole.path, netns_fd=whole.netns_fd, route_fd=whole.route_fd
                )
                self._chain(network).check(inside, result)

    def _load(self) -> NetworkConf:
        loaded = self._directory.load()
        if loaded.network is None:
            raise Unavailable(
                _describe_missing(self._directory.path, loaded), hint="write a *.conflist there"
            )
        return loaded.network

    def _require_plugins(self, network: NetworkConf) -> None:
        for kind in _plugin_types(network):
            if kind not in self._builtin:
                self._program.find(kind)

    def _find_plugin(self, kind: str) -> Plugin:
        return self._builtin.get(kind, self._program)

    def _chain(self, network: NetworkConf) -> Chain:
        return Chain(network, self._find_plugin, self._cache.exclusive(network.name))

    def _attachment(self, network: NetworkConf, pod: PodNetwork, netns: PodNetns) -> Attachment:
        return Attachment(
            pod.pod_id,
            IFNAME,
            netns_path=netns.path,
            netns_fd=netns.netns_fd,
            route_fd=netns.route_fd,
            args=_plan_args(pod),
            capabilities=plan_capabilities(network, pod),
        )

    def _loopback_up(self, attachment: Attachment) -> None:
        if "loopback" in self._builtin:
            set_loopback_up(attachment.route_fd)
        else:
            self._chain(_LOOPBACK).add(attachment._replace(ifname="lo", capabilities={}))

    def _add(self, network: NetworkConf, attachment: Attachment) -> Result:
        self._cache.begin(network, attachment)
        try:
            result = self._chain(network).add(attachment)
            self._cache.write(Entry(network, attachment, result))
        except BaseException:
            self._undo_quietly(Entry(network, attachment, None))
            raise
        return result

    def _clear(self, pod_id: str) -> None:
        """Undo what an attempt that died has left."""
        for entry in self._find(pod_id):
            if entry.result is not None:
                raise AlreadyExists(f"pod {pod_id} is attached to network {entry.network.name}")
            self._undo(entry)

    def _find(self, pod_id: str) -> list[Entry]:
        try:
            return self._cache.find(pod_id, IFNAME)
        except DataLoss:
            # The entry is all that is damaged: its network is most likely the one that is configured.
            network = self._directory.load().network
            if network is None:
                raise
            return [Entry(network, Attachment(pod_id, IFNAME), None)]

    def _undo_quietly(self, entry: Entry) -> None:
        """For the way out of a failed ADD, whose own error is the one to tell."""
        try:
            self._undo(entry)
        except Error:
            pass  # still in the cache: detach comes back to it

    def _undo(self, entry: Entry) -> None:
        network = entry.network
        self._chain(network).delete(entry.attachment, entry.result)
        self._cache.remove(network.name, entry.attachment)
        with self._cache.lock(network.name):
            if not self._cache.in_use(network.name):
                self._retire(network)

    def _retire(self, network: NetworkConf) -> None:
        """The network's last attachment has gone, and so go the bridge and the masquerading."""
        for call in self._chain(network).calls():
            plugin = self._find_plugin(call.type)
            if isinstance(plugin, Bridge):
                plugin.retire(call)


def plan_capabilities(network: NetworkConf, pod: PodNetwork) -> dict[str, Any]:
    """Values by capability name (CNI CONVENTIONS.md), for those plugins that declare it.

    FailedPrecondition when host ports are asked for and no plugin maps ports.
    """
    found: dict[str, Any] = {}
    mappings = [_port_mapping(port) for port in pod.port_mappings if port.host_port]
    if mappings:
        found["portMappings"] = mappings
        if not any(plugin.capabilities.get("portMappings") for plugin in network.plugins):
            raise FailedPrecondition(
                f"host port {mappings[0]['hostPort']}: network {network.name} has no plugin that maps ports",
                hint='add {"type": "portmap", "capabilities": {"portMappings": true}} to its plugins',
            )
    if pod.annotations:
        found["io.kubernetes.cri.pod-annotations"] = dict(pod.annotations)
    return found


def _port_mapping(port: HostPort) -> dict[str, Any]:
    return {
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol.lower(),
        "hostIP": port.host_ip,
    }


def _plan_args(pod: PodNetwork) -> tuple[tuple[str, str], ...]:
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", pod.namespace),
        ("K8S_POD_NAME", pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", pod.pod_id),
        ("K8S_POD_UID", pod.uid),
    )


def _complete(netns: PodNetns, stack: ExitStack) -> PodNetns:
    """`netns` with both descriptors; those made here are closed by `stack`."""
    netns_fd, route_fd = netns.netns_fd, netns.route_fd
    if netns_fd < 0:
        try:
            netns_fd = os.open(netns.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise storage_error(f"open network namespace {netns.path}", error) from error
        stack.callback(os.close, netns_fd)
    if route_fd < 0:
        route_fd = open_route_socket(netns.path)
        stack.callback(os.close, route_fd)
    return PodNetns(netns.path, netns_fd, route_fd)


def _pod_ips(result: Result, netns: PodNetns) -> list[cni.IpConfig]:
    """The addresses of interfaces inside the pod; those of no interface are taken for the pod's."""
    return [
        ip
        for ip in result.ips
        if ip.interface is None or result.interfaces[ip.interface].sandbox == netns.path
    ]


def _plugin_types(network: NetworkConf) -> list[str]:
    """Each plugin's type and that of its IPAM plugin."""
    found = []
    for plugin in network.plugins:
        found.append(plugin.type)
        ipam = plugin.raw.get("ipam")
        if isinstance(ipam, dict) and isinstance(ipam.get("type"), str):
            found.append(ipam["type"])
    return found


def _describe_missing(conf_dir: str, loaded: Loaded) -> str:
    if loaded.faults:
        return f"no valid network configuration in {conf_dir}: {loaded.faults[0]}"
    return f"no network configuration in {conf_dir}"
