"""Networks of this machine's containers.

    <config dir>/networks/<name>.conflist     a CNI configuration list; `rundlet` has what only we read

    "rundlet": {"created_at_ns": …, "driver": "bridge", "internal": false, "labels": {}, "options": {}}

The network `rundlet` is there without a file.  On every other one containers find each other by
name: /etc/hosts of each says who else is there now, rewritten as they come and go.
"""

import hashlib
import ipaddress
import os
import secrets
import socket
import time
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from rundlet.engine.engine import Engine
from rundlet.engine.options import NetworkUse, PodFilter, PodOptions
from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from rundlet.kernel.failure import translating
from rundlet.kernel.namespace import in_user_namespace
from rundlet.local.locks import ContainerLocks
from rundlet.local.names import check_name
from rundlet.local.networkplan import NetworkRecord, NetworkRequest, Subnet, plan_network, plan_subnets
from rundlet.local.options import NetworkChoice
from rundlet.local.records import LocalRecord, LocalRecords
from rundlet.local.words.network import list_names
from rundlet.netlink import link, route
from rundlet.netlink.address import IpNetwork
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.named import DEFAULT_NETWORK, NamedNetworks
from rundlet.spec.cni import NetworkConf
from rundlet.spec.json import convert, decode, encode_pretty
from rundlet.step import step

_LOCK = "networks"
_NAMES_LOCK = "names"
_BRIDGE = "rundlet"


class NetworkInfo(Struct, frozen=True):
    """One network; `users` are the containers that ask for it, whether they run or not."""

    name: str
    id: str
    driver: str
    interface: str
    subnets: tuple[Subnet, ...]
    record: NetworkRecord
    users: tuple[str, ...] = ()

    @property
    def ipv6(self) -> bool:
        """Whether one of its subnets is of IPv6."""
        return any(":" in one.subnet for one in self.subnets)


class _File(Struct, frozen=True):
    rundlet: NetworkRecord = NetworkRecord()


class Networks:
    """Thread-safe, and for several processes."""

    def __init__(
        self, engine: Engine, records: LocalRecords, locks: ContainerLocks, directory: str, data_dir: str
    ) -> None:
        """`directory` has the files, `data_dir` the leases."""
        self._engine = engine
        self._records = records
        self._locks = locks
        self._directory = directory
        self._data_dir = data_dir
        self._named = NamedNetworks(directory, data_dir)

    # -- the networks -----------------------------------------------------------

    def create(self, request: NetworkRequest) -> NetworkInfo:
        """Raises AlreadyExists for a taken name, subnet or interface, InvalidArgument for what cannot be."""
        check_name(request.name, "network")
        with self._locks.hold(_LOCK):
            if request.name in self._named.names():
                raise AlreadyExists(f"there is a network {request.name} already")
            subnets = plan_subnets(request, self._taken(), secrets.token_bytes(5))
            interface = self._choose_interface(request)
            document = plan_network(request, interface, subnets, self._data_dir, time.time_ns())
            path = self._path(request.name)
            with translating(f"write {path}"), step("network.write", request.name):
                os.makedirs(self._directory, mode=0o755, exist_ok=True)
                new = f"{self._directory}/.{request.name}.new"
                with open(new, "wb") as file:
                    file.write(encode_pretty(document))
                os.rename(new, path)
        found = self.get(request.name)
        self._engine.journal.note("network", "create", found.id, found.name, labels=request.labels)
        return found

    def get(self, name: str) -> NetworkInfo:
        """Raises NotFound."""
        return self._describe(self._named.find(name), self.users())

    def exists(self, name: str) -> bool:
        """Whether there is a network of that name."""
        return name in self._named.names()

    def list(self) -> Sequence[NetworkInfo]:
        """The default one first."""
        users = self.users()
        return [self._describe(self._named.find(name), users) for name in self._named.names()]

    def remove(self, name: str) -> None:
        """Raises NotFound, and FailedPrecondition while a container asks for it, and for the default one."""
        if name == DEFAULT_NETWORK and not os.path.exists(self._path(name)):
            raise FailedPrecondition(f"network {name} is the default one and cannot be removed")
        with self._locks.hold(_LOCK):
            self._named.find(name)
            users = self.users().get(name, ())
            if users:
                raise FailedPrecondition(
                    f"cannot remove network {name}: container {users[0]} is on it",
                    hint="remove the container first, or force the removal",
                )
            with translating(f"remove {self._path(name)}"), step("network.unlink", name):
                os.unlink(self._path(name))
        self._engine.journal.note("network", "remove", identify(name), name)

    def prune(self, labels: dict[str, str] | None = None) -> Sequence[str]:
        """Remove all that no container asks for; the names."""
        removed = []
        for network in self.list():
            wanted = all(network.record.labels.get(key) == value for key, value in (labels or {}).items())
            if wanted and not network.users and network.name != DEFAULT_NETWORK:
                self.remove(network.name)
                removed.append(network.name)
        return removed

    def users(self) -> dict[str, tuple[str, ...]]:
        """Names of containers and pods by the network's name."""
        found: dict[str, list[str]] = {}
        owners = {record.pod_id: record.name for record in self._records.list() if record.own_pod}
        for pod in self._engine.pods.list(PodFilter(origin="local")):
            for use in pod.options.networks:
                found.setdefault(use.name, []).append(owners.get(pod.id, pod.options.name))
        return {name: tuple(users) for name, users in found.items()}

    def _path(self, name: str) -> str:
        return f"{self._directory}/{name}.conflist"

    def _describe(self, conf: NetworkConf, users: dict[str, tuple[str, ...]]) -> NetworkInfo:
        first = conf.plugins[0]
        ranges = first.raw.get("ipam", {}).get("ranges", ())
        return NetworkInfo(
            conf.name,
            identify(conf.name),
            first.type,
            first.raw.get("bridge") or first.raw.get("master", ""),
            tuple(_describe_range(one) for ranges_of_set in ranges for one in ranges_of_set),
            self._read_record(conf.name),
            users.get(conf.name, ()),
        )

    def _read_record(self, name: str) -> NetworkRecord:
        """Nothing is known of a file that somebody else wrote."""
        try:
            with open(self._path(name), "rb") as file:
                return decode(file.read(), _File, self._path(name)).rundlet
        except FileNotFoundError:
            return NetworkRecord()

    def _taken(self) -> Sequence[IpNetwork]:
        """Subnets of other networks, and those that this host has a way to."""
        found = [
            ipaddress.ip_network(one.subnet, strict=False)
            for network in self.list()
            for one in network.subnets
        ]
        return found + _list_routes()

    def _choose_interface(self, request: NetworkRequest) -> str:
        if request.driver == "macvlan":
            return request.options.get("parent", "")
        wanted = request.options.get("com.docker.network.bridge.name")
        taken = {network.interface for network in self.list()}
        if wanted:
            if wanted in taken:
                raise AlreadyExists(f"bridge {wanted} is another network's")
            return wanted
        with NetlinkSocket() as host:
            taken |= {link.parse_link(answer).name for answer in host.dump(link.list_links())}
        return next(name for number in range(1, 10_000) if (name := f"{_BRIDGE}{number}") not in taken)

    # -- containers on them -----------------------------------------------------

    @property
    def shares_ports(self) -> bool:
        """Whether several pods may have one host port: an ordinary user's are forwarded by a program to one place."""
        return not in_user_namespace()

    def choose(self, choice: NetworkChoice) -> tuple[NetworkUse, ...]:
        """What a pod of this choice joins.  Raises NotFound for a network that is not there."""
        if choice.mode not in ("", "bridge"):
            return ()
        names = list_names(choice)
        for name in names:
            self._named.find(name)
        ends = {end.name: end for end in choice.ends}
        first, *others = (
            replace(end, aliases=(*choice.aliases, *end.aliases))
            for end in (ends.get(name, NetworkUse(name)) for name in names)
        )
        ips = tuple(filter(None, (choice.ip, choice.ip6)))
        return (replace(first, ips=ips or first.ips, mac=choice.mac or first.mac), *others)

    def connect(self, record: LocalRecord, end: NetworkUse) -> None:
        """Put a container on one more network, at once when it runs; it stays on it.

        Raises NotFound, AlreadyExists when it is on that one, FailedPrecondition for a container without a
        network of its own, and what attaching raises.
        """
        self._named.find(end.name)
        with self._locks.hold(record.id):
            choice = self._require_own(record)
            self._engine.pods.connect(record.pod_id, end)
            names = () if choice.mode == "none" else list_names(choice)
            changed = replace(choice, mode="bridge", names=(*names, end.name), ends=(*choice.ends, end))
            self._records.change_asked(record.id, lambda asked: replace(asked, network=changed))
        self.name_neighbours([end.name])
        self._tell_change("connect", end.name, record)

    def disconnect(self, record: LocalRecord, network: str) -> None:
        """Take a container off a network, at once when it runs.

        Raises NotFound when it is not on it, FailedPrecondition for a container without a network of its own.
        """
        with self._locks.hold(record.id):
            choice = self._require_own(record)
            self._engine.pods.disconnect(record.pod_id, network)
            names = tuple(name for name in list_names(choice) if name != network)
            ends = tuple(end for end in choice.ends if end.name != network)
            changed = replace(choice, mode="bridge" if names else "none", names=names, ends=ends)
            if list_names(choice)[0] == network:
                changed = replace(changed, ip="", ip6="", mac="")
            self._records.change_asked(record.id, lambda asked: replace(asked, network=changed))
        self.name_neighbours([network], also=record.pod_id)
        self._tell_change("disconnect", network, record)

    def _tell_change(self, action: str, network: str, record: LocalRecord) -> None:
        self._engine.journal.note("network", action, identify(network), network, container=record.id)

    def _require_own(self, record: LocalRecord) -> NetworkChoice:
        """How it is connected now."""
        found = self._records.find(record.id)
        choice = found.asked.network if found else record.asked.network
        if not record.own_pod:
            raise FailedPrecondition(
                f"container {record.name} shares the network of its pod, or of another container",
                hint="what it shares with is connected instead",
            )
        if choice.mode not in ("", "bridge", "none"):
            raise FailedPrecondition(
                f"container {record.name} has the network {choice.mode}, which is no bridge"
            )
        return choice

    def find_gateway(self, choice: NetworkChoice) -> str:
        """The address under which containers of this choice reach the host (`host-gateway`)."""
        if choice.mode in ("", "bridge"):
            name = next(iter(choice.names), DEFAULT_NETWORK)
            for one in self.get(name).subnets:
                if one.gateway and ":" not in one.gateway:
                    return one.gateway
        raise InvalidArgument("host-gateway: this container's network has no way to the host")

    def name_neighbours(self, networks: Iterable[str], also: str = "") -> None:
        """Tell the pods on these networks, and pod `also`, who is there now; nothing happens for the default network."""
        wanted = [name for name in dict.fromkeys(networks) if name != DEFAULT_NETWORK]
        if not wanted:
            return
        with self._locks.hold(_NAMES_LOCK), step("network.names"):
            ready = self._engine.pods.list(PodFilter(origin="local", state="ready"))
            pods = {pod.id: pod.options for pod in ready}
            members = {
                use.name: self._engine.pods.members(use.name) for pod in pods.values() for use in pod.networks
            }
            names = self._list_names()
            for pod_id, options in pods.items():
                if pod_id == also or any(use.name in wanted for use in options.networks):
                    ends = (
                        (other, end, use.name)
                        for use in options.networks
                        if use.name != DEFAULT_NETWORK
                        for other, end in members[use.name].items()
                        if other in pods
                    )
                    self._tell(
                        pod_id,
                        [
                            (
                                ip,
                                " ".join(
                                    dict.fromkeys((*names[other], *_find_aliases(pods[other], network)))
                                ),
                            )
                            for other, end, network in ends
                            for ip in end.ips
                        ],
                    )

    def name_neighbours_of(self, pod_id: str, networks: Iterable[str]) -> None:
        """`name_neighbours` of the pod's networks, or of these when it has gone."""
        found = self._engine.pods.list(PodFilter(id=pod_id))
        self.name_neighbours([use.name for use in found[0].options.networks] if found else networks)

    def _tell(self, pod_id: str, lines: Sequence[tuple[str, str]]) -> None:
        try:
            self._engine.pods.name_neighbours(pod_id, sorted(lines))
        except NotFound:
            pass  # it went meanwhile

    def _list_names(self) -> dict[str, tuple[str, ...]]:
        """Under which names each pod is known to its neighbours: its own, its containers' and their short ids."""
        found: dict[str, list[str]] = {}
        for pod in self._engine.pods.list(PodFilter(origin="local")):
            found[pod.id] = [pod.options.name] if pod.options.name else []
        for record in self._records.list():
            found.setdefault(record.pod_id, []).extend((record.name, record.id[:12]))
        return {pod_id: tuple(dict.fromkeys(names)) for pod_id, names in found.items()}


def identify(name: str) -> str:
    """A network's id: it has no other than what its name comes to."""
    return hashlib.sha256(name.encode()).hexdigest()


def _find_aliases(pod: PodOptions, network: str) -> tuple[str, ...]:
    return next((use.aliases for use in pod.networks if use.name == network), ())


def _describe_range(one: dict[str, str]) -> Subnet:
    subnet = ipaddress.ip_network(one["subnet"], strict=False)
    return replace(
        convert(
            {
                "subnet": str(subnet),
                "range_start": one.get("rangeStart", ""),
                "range_end": one.get("rangeEnd", ""),
            },
            Subnet,
            "range",
        ),
        gateway=one.get("gateway") or str(subnet[1]),
    )


def _list_routes() -> list[IpNetwork]:
    """Where this host's routes lead, the default ones left out."""
    with NetlinkSocket() as host:
        routes = [
            route.parse_route(answer)
            for family in (socket.AF_INET, socket.AF_INET6)
            for answer in host.dump(route.list_routes(family))
        ]
    return [one.destination for one in routes if one.destination.prefixlen]
