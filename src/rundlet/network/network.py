"""Pods on their networks: what the engine calls.

Attaching makes lo up, notes the attachment in the cache, runs the chain, and
notes the result; when a plugin fails, the chain's DEL undoes the rest.
Detaching needs nothing but the cache and the leases: any process can do it.
"""

import ipaddress
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from typing import NamedTuple

from rundlet.errors import (
    AlreadyExists,
    DataLoss,
    Error,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from rundlet.network.builtin import BUILTIN, make_builtin
from rundlet.network.cache import Cache, Entry
from rundlet.network.call import Attachment, Builtin, Plugin, pod_ips
from rundlet.network.chain import Chain, FindPlugin, plugin_types
from rundlet.network.collect import Collector
from rundlet.network.conf import ConfDirectory, Loaded
from rundlet.network.leases import storage_error
from rundlet.network.loopback import set_loopback_up
from rundlet.network.named import NamedNetworks
from rundlet.network.namespace import open_route_socket
from rundlet.network.pod import (
    IFNAME,
    Attached,
    Choice,
    Link,
    Membership,
    PodNetns,
    PodNetwork,
    describe_link,
    plan_args,
    plan_capabilities,
    plan_further_capabilities,
    plan_memberships,
    plan_networks,
    without_default_route,
)
from rundlet.network.program import Program
from rundlet.network.uplink import Uplink, UplinkChain, check_user, needs_uplink
from rundlet.network.usermode import TYPE as USERMODE
from rundlet.network.usermode import UserMode
from rundlet.spec import cni
from rundlet.spec.cni import NetworkConf, Result
from rundlet.step import step

_log = logging.getLogger(__name__)

_LINGER_S = 3.0

# CNI SPEC.md: the form of CNI_CONTAINERID; it becomes a part of file names.
_CONTAINER_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")

_LOOPBACK = NetworkConf("cni-loopback", "0.4.0", (cni.Plugin("loopback", {}, {"type": "loopback"}),))


class NetworkSettings(NamedTuple):
    """`builtin`: plugin types done in this process; all others are programs in `bin_dirs`.

    A plugin program that takes longer than `plugin_timeout_s` is killed.
    `engine` names the owner of this object's pods where several share `cache_dir`.
    `run_dir` does not survive a reboot.  `named_dir` has the networks that pods ask for by `PodNetwork.only`; see `network.named`.
    """

    conf_dir: str = "/etc/cni/net.d"
    bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    cache_dir: str = "/var/lib/cni"
    builtin: tuple[str, ...] = BUILTIN
    plugin_timeout_s: float = 60.0
    engine: str = "rundlet"
    named_dir: str = "/etc/rundlet/networks"
    run_dir: str = "/run/rundlet/network"


class NetworkStatus(NamedTuple):
    """CRI's NetworkReady: `reason` is one word for machines, `message` one line."""

    ready: bool
    reason: str = ""
    message: str = ""


class Network:
    """The network of all pods of an engine; thread-safe, and several processes may share its directories."""

    def __init__(self, settings: NetworkSettings) -> None:
        """InvalidArgument when `builtin` names what is not built in."""
        known = make_builtin(self._find_plugin)
        for name in settings.builtin:
            if name not in known:
                raise InvalidArgument(f"CNI plugin {name} is not built in", hint=f"{', '.join(known)} are")
        self._builtin: dict[str, Plugin] = {name: known[name] for name in settings.builtin}
        self._builtin[USERMODE] = UserMode(settings.run_dir)
        self.settings = settings
        self._engine = settings.engine
        self._program = Program(settings.bin_dirs, timeout_s=settings.plugin_timeout_s)
        self._directory = ConfDirectory(settings.conf_dir)
        self._named = NamedNetworks(settings.named_dir, f"{settings.cache_dir}/networks")
        self._cache = Cache(settings.cache_dir, settings.engine)
        self._lingering: dict[str, tuple[NetworkConf, threading.Timer | None]] = {}
        self._lingering_lock = threading.Lock()
        self._uplink = Uplink(settings.run_dir)
        self._inner: tuple[int, Mapping[str, Plugin]] = (0, {})

    def status(self) -> NetworkStatus:
        """Could a pod be attached now?  Asks the plugins too (STATUS)."""
        try:
            network = self._load()
            self._require_plugins(network)
            self._chain(network).status()
        except Error as error:
            return NetworkStatus(ready=False, reason="NetworkPluginNotReady", message=error.message)
        return NetworkStatus(ready=True)

    def attach(self, pod: PodNetwork, netns: PodNetns) -> Attached:
        """Put the pod on its networks; whatever fails leaves nothing attached.

        Raises AlreadyExists for a pod that is attached and for a host port that is
        taken, ResourceExhausted when no address is left, Unavailable without a
        network configuration, NotFound for a network by name that is not configured,
        and what the plugins raise.
        """
        networks = self._choose_networks(pod)
        # Before anything is made: DEL would miss the same program and could never end.
        for choice in networks:
            self._require_plugins(choice.network)
        if not _CONTAINER_ID.fullmatch(pod.pod_id):
            raise InvalidArgument(f"pod id {pod.pod_id!r} cannot be a CNI container id")
        self._retire_lingering([choice.network for choice in networks])
        with ExitStack() as stack:
            attachments = _plan_attachments(networks, pod, _complete(netns, stack))
            self._clear(pod.pod_id)
            with step("network.loopback", pod.pod_id):
                self._loopback_up(attachments[0])
            results = self._add_all([choice.network for choice in networks], attachments)
        ips = tuple(str(ipaddress.ip_interface(ip.address).ip) for ip in pod_ips(results[0]))
        return Attached(ips, results[0], tuple(results[1:]))

    def list_networks(self, pod: PodNetwork) -> list[NetworkConf]:
        """Those that `attach` would put the pod on; raises what it raises before it does anything."""
        return [choice.network for choice in self._choose_networks(pod)]

    def detach(self, pod: PodNetwork, netns_path: str, *, settle: bool = True) -> None:
        """Take the pod off every network; idempotent, and `netns_path` need not exist any more.

        After an error the attachment is still noted, so that a later call can finish.
        Without `settle`, what goes with a network's last pod (a bridge takes the
        kernel 30 ms) lingers for the next one a while; see `settle`.
        """
        present = netns_path if os.path.exists(netns_path) else ""
        failed: list[Error] = []
        for entry in self._find(pod.pod_id):
            try:
                self._undo(entry._replace(attachment=entry.attachment._replace(netns_path=present)))
            except Error as error:
                failed.append(error)
        if settle:
            self.settle()
        if failed:
            raise failed[0]

    def join(self, pod: PodNetwork, wanted: Membership, netns: PodNetns) -> Link:
        """Put an attached pod on one more of the machine's own networks; its first one gives the default route.

        Raises AlreadyExists for a pod that is on it, and what `attach` raises.
        """
        network = self._named.find(wanted.network)
        self._require_plugins(network)
        entries = self._cache.find(pod.pod_id)
        for entry in entries:
            if entry.network.name == network.name:
                if entry.result is not None:
                    raise AlreadyExists(f"pod {pod.pod_id} is attached to network {network.name}")
                self._undo(entry)
        self._retire_lingering([network])
        taken = {entry.attachment.ifname for entry in entries if entry.result is not None}
        ifname = wanted.ifname or next(
            name for n in range(len(taken) + 1) if (name := f"eth{n}") not in taken
        )
        chosen = Choice(
            without_default_route(network) if taken else network,
            ifname,
            plan_further_capabilities(pod) | dict(wanted.capabilities),
        )
        with ExitStack() as stack:
            (attachment,) = _plan_attachments([chosen], pod, _complete(netns, stack))
            return describe_link(network.name, ifname, self._add(chosen.network, attachment))

    def leave(self, pod_id: str, network: str, netns_path: str) -> None:
        """Take the pod off one network; idempotent, and `netns_path` need not exist any more."""
        present = netns_path if os.path.exists(netns_path) else ""
        for entry in self._find(pod_id):
            if entry.network.name == network:
                self._undo(entry._replace(attachment=entry.attachment._replace(netns_path=present)))

    def settle(self) -> None:
        """Remove now what lingers of networks without pods; what failed to go is tried again."""
        self._retire_lingering(())

    def check(self, pod: PodNetwork, netns: PodNetns) -> None:
        """Does everything that `attach` made still stand?  NotFound for a pod that is not attached."""
        entries = self._cache.find(pod.pod_id)
        if not entries:
            raise NotFound(f"pod {pod.pod_id} is attached to no network")
        with ExitStack() as stack:
            whole = _complete(netns, stack)
            for network, attachment, result, _ in entries:
                inside = attachment._replace(
                    netns_path=whole.path, netns_fd=whole.netns_fd, route_fd=whole.route_fd
                )
                self._chain(network).check(inside, result)

    def links(self, pod_id: str) -> list[Link]:
        """What the pod has on each of its networks, the first of them first."""
        return [_describe(entry) for entry in reversed(self._cache.find(pod_id)) if entry.result]

    def members(self, network: str) -> dict[str, Link]:
        """Who is on the network now: the pods' ends by pod id."""
        found = [entry for entry in self._cache.entries() if entry.network.name == network and entry.result]
        return {entry.attachment.container_id: _describe(entry) for entry in found}

    def collect(self, list_pods: Callable[[], Iterable[str]]) -> list[Error]:
        """Remove whatever is left of pods that are not among those that `list_pods` gives (CNI's GC).

        That is asked under each network's lock: a pod must be among them before it
        is attached.  Pods of other runtimes and engines that share the cache
        directory stay.  What cannot be removed now is answered, and does not stop
        the rest.
        """
        collector = Collector(self._cache, self._engine, self._chain, self._undo)
        collector.collect(self._directory.load().networks(), list_pods)
        self.settle()
        return collector.failed

    def _load(self) -> NetworkConf:
        loaded = self._directory.load()
        if loaded.network is None:
            raise Unavailable(
                _describe_missing(self._directory.path, loaded), hint="write a *.conflist there"
            )
        return loaded.network

    def _choose_networks(self, pod: PodNetwork) -> list[Choice]:
        """Each network of the pod, the first the one that gives the pod its address."""
        if pod.only:
            return plan_memberships(pod, self._named.find)
        first = self._load()
        found = [Choice(first, IFNAME, plan_capabilities(first, pod))]
        known = {network.name: network for network in self._directory.load().networks()}
        for wanted in plan_networks(pod):
            if wanted.network not in known:
                raise NotFound(
                    f"network {wanted.network} is not configured in {self._directory.path}",
                    hint=f"there are: {', '.join(known)}",
                )
            found.append(Choice(known[wanted.network], wanted.ifname, plan_further_capabilities(pod)))
        return found

    def _require_plugins(self, network: NetworkConf) -> None:
        check_user(network)
        for kind in plugin_types(network):
            if kind not in self._builtin:
                self._program.require(kind, network.cni_version)

    def _find_plugin(self, kind: str) -> Plugin:
        return self._builtin.get(kind, self._program)

    def _chain(self, network: NetworkConf) -> Chain:
        lock = self._cache.exclusive(network.name)
        if not needs_uplink(network):
            return Chain(network, self._find_plugin, lock)
        return UplinkChain(
            self._uplink,
            lambda number: Chain(network, self._find_inner_plugins(number), lock),
            lambda: any(needs_uplink(entry.network) for entry in self._cache.entries()),
        )

    def _find_inner_plugins(self, number: int) -> FindPlugin:
        """Plugins keep sockets, and these belong to the namespace that they were opened in."""
        if self._inner[0] != number:
            known: dict[str, Builtin] = {}
            known |= make_builtin(lambda kind: known.get(kind, self._program))
            self._inner = (number, {name: known[name] for name in self.settings.builtin})
        inner = self._inner[1]
        return lambda kind: inner.get(kind, self._program)

    def _loopback_up(self, attachment: Attachment) -> None:
        if "loopback" in self._builtin:
            set_loopback_up(attachment.route_fd)
        else:
            self._chain(_LOOPBACK).add(attachment._replace(ifname="lo", capabilities={}))

    def _add_all(self, networks: list[NetworkConf], attachments: list[Attachment]) -> list[Result]:
        results = []
        done: list[Entry] = []
        try:
            for network, attachment in zip(networks, attachments, strict=True):
                result = self._add(network, attachment)
                done.append(Entry(network, attachment, result))
                results.append(result)
        except BaseException:
            for entry in reversed(done):
                self._undo_quietly(entry)
            self.settle()
            raise
        return results

    def _add(self, network: NetworkConf, attachment: Attachment) -> Result:
        with step("network.note", attachment.container_id):
            self._cache.write(Entry(network, attachment, None))
        try:
            result = self._chain(network).add(attachment)
            with step("network.keep-result", attachment.container_id):
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
            return self._cache.find(pod_id)
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
        with step("network.forget", entry.attachment.container_id):
            self._cache.remove(network.name, entry.attachment)
        if not self._cache.in_use(network.name):
            self._let_linger(network)

    def _let_linger(self, network: NetworkConf) -> None:
        """It goes in a while, when nobody has come: removing a bridge and making it again takes 50 ms."""
        timer = threading.Timer(_LINGER_S, self._retire, [network])
        timer.name, timer.daemon = f"retire {network.name}", True
        with self._lingering_lock:
            if network.name not in self._lingering:
                self._lingering[network.name] = (network, timer)
                timer.start()

    def _retire_lingering(self, wanted: Collection[NetworkConf]) -> None:
        """All but what is `wanted` just as it was: another network may want the same bridge with other addresses."""
        with self._lingering_lock:
            leaving = [entry for entry in self._lingering.values() if entry[0] not in wanted]
        for network, timer in leaving:
            if timer is not None:
                timer.cancel()
                timer.join()
            self._retire(network)

    def _retire(self, network: NetworkConf) -> None:
        """The network's last attachment has gone, and so go the bridge and the masquerading.

        An attachment that begins meanwhile is noted under the same lock: it is
        either seen here, or finds nothing and makes it anew.
        """
        with self._lingering_lock:
            self._lingering.pop(network.name, None)
        try:
            with self._cache.lock(network.name):
                if not self._cache.in_use(network.name):
                    with step("network.retire"):
                        self._chain(network).retire()
        except (Error, OSError) as error:
            _log.warning("network %s: %s", network.name, error)
            with self._lingering_lock:
                self._lingering.setdefault(network.name, (network, None))


def _plan_attachments(networks: list[Choice], pod: PodNetwork, netns: PodNetns) -> list[Attachment]:
    return [
        Attachment(pod.pod_id, choice.ifname, *netns, plan_args(pod), choice.capabilities)
        for choice in networks
    ]


def _describe(entry: Entry) -> Link:
    return describe_link(entry.network.name, entry.attachment.ifname, entry.result or Result())


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


def _describe_missing(conf_dir: str, loaded: Loaded) -> str:
    if loaded.faults:
        return f"no valid network configuration in {conf_dir}: {loaded.faults[0]}"
    return f"no network configuration in {conf_dir}"
