"""An ordinary user's bridges: a network namespace that takes the host's place, and its way out.

    pod               the user's namespace                       host
    eth0 ─── veth ─── rundlet1, routing, masquerade ─── tap0 ─── slirp4netns, sockets of the user

Who may make no interface on the host may make them here, so the same plugins work, by a thread that goes
there.  A published port is two steps: slirp4netns listens on the host and hands to tap0, portmap hands
to the pod.  It comes with the first pod on such a network, and goes with the last.

    <run dir>/uplink/lock                      held while it comes and goes
                     netns                     the namespace, bound
                     slirp.*                   the process (`network.userprocess`)
                     ports/<container>-<if>    [{"mapping": …, "number": …}] of slirp4netns's for it

Without slirp4netns pods reach each other, and nothing else.
"""

import fcntl
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from msgspec import structs

from rundlet.errors import AlreadyExists, Error, FailedPrecondition
from rundlet.kernel import mount, namespace
from rundlet.kernel.failure import translating
from rundlet.kernel.namespace import in_user_namespace
from rundlet.network import slirp
from rundlet.network.call import Attachment, Owner
from rundlet.network.chain import Chain, plugin_types
from rundlet.network.loopback import set_loopback_up
from rundlet.network.named import DEFAULT_NETWORK
from rundlet.network.namespace import open_route_socket, run_inside
from rundlet.network.usermode import TYPE as USERMODE
from rundlet.network.userprocess import Files, end, find_process, publish, start_slirp, withdraw
from rundlet.spec.cni import Dns, NetworkConf, Result
from rundlet.step import step

T = TypeVar("T")

_TAP: Final = "tap0"
# What touches the pod's own namespace only.
_PODS_OWN: Final = frozenset((USERMODE, "loopback", "tuning"))
# What takes an interface of the host, where an ordinary user has none.
_HOSTS: Final = frozenset(("macvlan", "ipvlan", "host-device", "vlan", "dhcp"))
_log = logging.getLogger(__name__)


def needs_uplink(network: NetworkConf) -> bool:
    """Whether its plugins work on a host, and this process has none to work on."""
    return in_user_namespace() and bool(set(plugin_types(network)) - _PODS_OWN)


def check_user(network: NetworkConf) -> None:
    """Raises FailedPrecondition for what only root can have."""
    if in_user_namespace() and _HOSTS & set(plugin_types(network)):
        raise FailedPrecondition(
            f"network {network.name}: the host's interfaces are not an ordinary user's to take",
            hint=f"use a bridge, or the network {DEFAULT_NETWORK}, host or none",
        )


class Uplink:
    """Safe among threads and processes; `run_dir` does not survive a reboot."""

    def __init__(self, run_dir: str) -> None:
        self._directory = f"{run_dir}/uplink"
        self._netns = f"{self._directory}/netns"
        self._slirp = Files(self._directory, "slirp")
        self._ports = f"{self._directory}/ports"

    def make(self) -> int:
        """The number of the namespace, made where it is missing, with its way out as far as there is one."""
        with translating("make the network namespace of the user's bridges"), self._locked():
            if not self._is_bound():
                end(self._slirp)
                with step("uplink.namespace"):
                    _run_in_thread(self._bind_fresh)
                    route_fd = open_route_socket(self._netns)
                    try:
                        set_loopback_up(route_fd)
                    finally:
                        os.close(route_fd)
            if not self.has_way_out():
                self._start_slirp()
            return os.stat(self._netns).st_ino

    def run(self, action: Callable[[], T]) -> T:
        """What `action` answers in the namespace, which must have been made."""
        fd = os.open(self._netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return run_inside(fd, action, self._netns)
        finally:
            os.close(fd)

    def has_way_out(self) -> bool:
        fd = find_process(self._slirp)
        if fd >= 0:
            os.close(fd)
        return fd >= 0

    def publish(self, owner: Owner, mappings: Sequence[dict[str, Any]]) -> None:
        """Raises AlreadyExists for a port that cannot be had, FailedPrecondition without slirp4netns."""
        if not mappings:
            return
        if not self.has_way_out():
            raise FailedPrecondition("no program to publish ports with", hint="install slirp4netns")
        with translating("publish ports"), self._locked():
            os.makedirs(self._ports, mode=0o700, exist_ok=True)
            done: list[dict[str, Any]] = []
            for mapping in mappings:
                to_tap = mapping | {"containerPort": mapping["hostPort"]}
                done.append({"mapping": to_tap, "number": publish(self._slirp, to_tap)})
                _write(self._path(owner), done)

    def withdraw(self, owner: Owner) -> None:
        """Undo `publish` as far as it came."""
        path = self._path(owner)
        if not os.path.exists(path):
            return
        with translating("withdraw ports"), self._locked():
            for one in _read(path) if self.has_way_out() else ():
                withdraw(self._slirp, one["number"])
            os.unlink(path)

    def retire(self, is_used: Callable[[], bool]) -> None:
        """It all goes, unless it is used; whoever comes notes that before `make`."""
        with translating("remove the network namespace of the user's bridges"), self._locked():
            if is_used():
                return
            end(self._slirp)
            if self._is_bound():
                mount.umount(self._netns, mount.MNT_DETACH)
            for name in ("netns", "ports", "lock"):
                _remove(f"{self._directory}/{name}")
            _remove(self._directory)

    def _bind_fresh(self) -> None:
        """In a thread that ends in it."""
        namespace.unshare(namespace.CLONE_NEWNET)
        with open(self._netns, "w", encoding="ascii"):
            pass
        mount.mount("/proc/thread-self/ns/net", self._netns, None, mount.MS_BIND)

    def _is_bound(self) -> bool:
        """In these mount namespaces: the file alone may be left of others that ended."""
        try:
            return os.stat(self._netns).st_dev == os.stat("/proc/self/ns/net").st_dev
        except FileNotFoundError:
            return False

    def _start_slirp(self) -> None:
        """A process that was killed had ports to forward: they are asked for again."""
        if shutil.which(slirp.PROGRAM) is None:
            _log.warning("the user's bridges lead nowhere else; to reach others install %s", slirp.PROGRAM)
            return
        with step("uplink.slirp"):
            start_slirp(self._netns, _TAP, self._slirp, "the user's bridges")
        for name in os.listdir(self._ports) if os.path.isdir(self._ports) else ():
            noted = _read(f"{self._ports}/{name}")
            try:
                again = [one | {"number": publish(self._slirp, one["mapping"])} for one in noted]
            except AlreadyExists as error:
                _log.warning("pod %s: %s", name, error)
                continue
            _write(f"{self._ports}/{name}", again)

    def _path(self, owner: Owner) -> str:
        return f"{self._ports}/{'-'.join(owner)}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock's file goes with the directory, so one that was opened before that is looked for anew."""
        while True:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            try:
                fd = os.open(f"{self._directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_nlink:
                    yield
                    return
            finally:
                os.close(fd)


class UplinkChain(Chain):
    """A chain whose plugins take the user's namespace for the host."""

    def __init__(
        self, uplink: Uplink, make_chain: Callable[[int], Chain], is_used: Callable[[], bool]
    ) -> None:
        """`make_chain` is for the namespace of that number; `is_used` says whether any such network has pods."""
        self._uplink = uplink
        self._make_chain = make_chain
        self._is_used = is_used

    def _do(self, verb: Callable[[Chain], T]) -> T:
        chain = self._make_chain(self._uplink.make())
        return self._uplink.run(lambda: verb(chain))

    def add(self, attachment: Attachment) -> Result:
        inner = _without_host_addresses(attachment)
        result = self._do(lambda chain: chain.add(inner))
        self._uplink.publish(_owner(attachment), attachment.capabilities.get("portMappings") or ())
        if result.dns.nameservers or not self._uplink.has_way_out():
            return result
        return structs.replace(result, dns=Dns(nameservers=(slirp.RESOLVER,)))

    def delete(self, attachment: Attachment, result: Result | None) -> None:
        self._uplink.withdraw(_owner(attachment))
        self._do(lambda chain: chain.delete(_without_host_addresses(attachment), result))

    def check(self, attachment: Attachment, result: Result | None) -> None:
        self._do(lambda chain: chain.check(_without_host_addresses(attachment), result))

    def collect(self, valid: Any) -> None:
        owners = list(valid)
        if self._is_used():
            self._do(lambda chain: chain.collect(owners))

    def status(self) -> None:
        """Nothing is made to find out."""

    def retire(self) -> None:
        if self._is_used():
            self._do(lambda chain: chain.retire())
        self._uplink.retire(self._is_used)


def _owner(attachment: Attachment) -> Owner:
    return Owner(attachment.container_id, attachment.ifname)


def _without_host_addresses(attachment: Attachment) -> Attachment:
    """slirp4netns listens on the host's address; what it hands on comes to another one."""
    mappings = attachment.capabilities.get("portMappings")
    if not mappings:
        return attachment
    inner = [{key: value for key, value in mapping.items() if key != "hostIP"} for mapping in mappings]
    return attachment._replace(capabilities={**attachment.capabilities, "portMappings": inner})


def _run_in_thread(action: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            action()
        except (Error, OSError) as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="makes a namespace")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _write(path: str, value: object) -> None:
    with open(f"{path}.new", "w", encoding="ascii") as file:
        json.dump(value, file)
    os.rename(f"{path}.new", path)


def _read(path: str) -> list[dict[str, Any]]:
    with open(path, encoding="ascii") as file:
        found: list[dict[str, Any]] = json.load(file)
    return found


def _remove(path: str) -> None:
    try:
        os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
    except FileNotFoundError:
        pass
