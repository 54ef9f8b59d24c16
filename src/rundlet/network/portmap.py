"""portmap: ports of the host that lead to a pod (capability portMappings), in process.

A pod costs one transaction of as many elements as it has mappings; the table is
there from the first pod with one to the last.  See `hostports` for its rules.
"""

import functools
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from rundlet.netlink import conntrack, link, nftables, nftset, route
from rundlet.netlink.address import IpInterface
from rundlet.netlink.message import Request
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call, pod_ips, require_previous
from rundlet.network.hostports import (
    PROTOCOLS,
    Entry,
    PortMapping,
    map_names,
    plan_entries,
    plan_keys,
    plan_requests,
    plan_subnets,
    plan_table,
    pods_element,
    version_of,
)
from rundlet.network.ruleset import Ruleset
from rundlet.network.sharedports import TABLE, is_shared, plan_change, read_port_key
from rundlet.network.sysctl import write_sysctl
from rundlet.spec import json
from rundlet.spec.cni import Result
from rundlet.spec.document import drop_nulls

_TRIES = 8
_PORT_KEY_BYTES = 8  # proto . port at the end of a map's key
_TAKEN = "remove that pod first, or ask for another host port"


class _RuntimeConfig(Struct, frozen=True, rename="camel"):
    port_mappings: tuple[PortMapping, ...] = ()


class _Conf(Struct, frozen=True, rename="camel"):
    """The reference plugin's options that mean something here; its iptables ones are refused when set."""

    backend: str = "nftables"
    snat: bool = True
    masq_all: bool = False
    external_set_mark_chain: str | None = None
    conditions_v4: tuple[Any, ...] = ()
    conditions_v6: tuple[Any, ...] = ()
    runtime_config: _RuntimeConfig = _RuntimeConfig()


class Portmap(Builtin):
    """`ruleset` may be shared with other plugins."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset

    def add(self, call: Call) -> Result:
        mappings = _parse(call)
        previous = require_previous(call)
        if not mappings:
            return previous
        ips = [ipaddress.ip_interface(ip.address) for ip in pod_ips(previous)]
        entries, shared = _split(mappings, lambda some: plan_entries(some, ips, call.tag))
        if not entries and not shared:
            raise FailedPrecondition(f"{call.what}: the pod has no address that its host ports could lead to")
        self._insert(call, entries, ips, shared)
        self._forget(mappings)
        _open_ways(previous, ips)
        return previous

    def delete(self, call: Call) -> None:
        try:
            entries, shared = _split(_parse(call), plan_keys)
        except (InvalidArgument, Unimplemented):
            return  # ADD cannot have got past it either
        if entries or shared:
            self._ruleset.change(lambda: self._plan_delete(call, entries))
            if shared:
                self._ruleset.change(lambda: self._plan_leave(lambda comment: comment == call.tag))
            self._forget(_parse(call))

    def check(self, call: Call) -> None:
        ips = [ipaddress.ip_interface(ip.address) for ip in pod_ips(require_previous(call))]
        entries, shared = _split(_parse(call), lambda some: plan_entries(some, ips, call.tag))
        for entry in shared:
            element = pods_element(entry.element)
            if self._ruleset.find(TABLE, f"pods{version_of(entry.map)}", element.key) is None:
                raise FailedPrecondition(
                    f"{call.what}: host port {entry.port} does not lead to the pod any more"
                )
        for entry in entries:
            if self._ruleset.find(TABLE, entry.map, entry.element.key) != entry.element:
                raise FailedPrecondition(
                    f"{call.what}: host port {entry.port} does not lead to the pod any more"
                )

    def status(self, call: Call) -> None:
        _parse(call)
        self._ruleset.has_table(TABLE)

    def collect(self, call: Call) -> None:
        self._ruleset.change(lambda: self._plan_collect(call))
        is_stale = call.find_stale()
        self._ruleset.change(lambda: self._plan_leave(is_stale))
        self.retire(call)

    def retire(self, call: Call) -> None:  # noqa: ARG002 - the table is the node's
        self._ruleset.change(self._plan_retire)

    def _insert(
        self, call: Call, entries: Sequence[Entry], ips: Sequence[IpInterface], shared: Sequence[Entry] = ()
    ) -> None:
        requests = [nftset.add_elements(TABLE, name, [element]) for name, element in plan_subnets(ips)]
        requests += plan_requests(entries, functools.partial(nftset.add_elements, exclusive=True))
        for _ in range(_TRIES):
            self._ruleset.change(lambda: [] if self._ruleset.has_table(TABLE) else plan_table())
            self._refuse_mixing(call, entries, shared)
            try:
                self._ruleset.netfilter.execute(*nftables.batch(*requests))
                self._ruleset.change(lambda: self._plan_join(shared))
            except AlreadyExists as error:
                raise self._describe_conflict(call, entries) from error
            except NotFound:
                continue  # the last pod with host ports left, and the table with it
            return
        raise FailedPrecondition(f"{call.what}: nftables table {TABLE} is deleted again and again")

    def _refuse_mixing(self, call: Call, entries: Sequence[Entry], shared: Sequence[Entry]) -> None:
        """A port is one pod's, or shared by several who all say so."""
        for entry in entries:
            if is_shared(self._ruleset, version_of(entry.map), entry.element.key[-_PORT_KEY_BYTES:]):
                raise AlreadyExists(f"{call.what}: host port {entry.port} is a service's", hint=_TAKEN)
        for entry in shared:
            taken = self._ruleset.find(TABLE, entry.map, entry.element.key)
            if taken and taken.comment != call.tag:
                raise self._describe_conflict(call, [entry])

    def _plan_join(self, shared: Sequence[Entry]) -> list[Request]:
        return [
            request
            for version in (4, 6)
            if (coming := [pods_element(e.element) for e in shared if version_of(e.map) == version])
            for request in plan_change(self._ruleset, version, coming, ())
        ]

    def _plan_leave(self, goes: Callable[[str], bool]) -> list[Request]:
        """Take the pods whose comment says so off the ports that they share."""
        requests = []
        for version in (4, 6):
            going = [
                one
                for one in self._ruleset.list(TABLE, f"pods{version}")
                if goes(one.comment) and is_shared(self._ruleset, version, read_port_key(one))
            ]
            requests += plan_change(self._ruleset, version, (), going) if going else []
        return requests

    def _forget(self, mappings: Sequence[PortMapping]) -> None:
        """A UDP flow never ends while somebody sends, and keeps the way that it had before."""
        for mapping in mappings:
            if mapping.transport == "udp":
                for version in (4, 6):
                    self._forget_port(version, mapping.host_port)

    def _forget_port(self, version: int, port: int) -> None:
        try:
            self._ruleset.netfilter.execute(conntrack.delete_connections(version, PROTOCOLS["udp"], port))
        except (InvalidArgument, Unimplemented):
            pass  # an older kernel, or one that tracks no connections of this kind

    def _describe_conflict(self, call: Call, entries: Sequence[Entry]) -> AlreadyExists:
        for entry in entries:
            found = self._ruleset.find(TABLE, entry.map, entry.element.key)
            if found:
                taker = (found.comment.split(" ") + [""] * 3)[2]
                return AlreadyExists(
                    f"{call.what}: host port {entry.port} is taken by pod {taker}", hint=_TAKEN
                )
        return AlreadyExists(
            f"{call.what}: a host port is asked for twice, or was taken until just now", hint=_TAKEN
        )

    def _plan_delete(self, call: Call, entries: Sequence[Entry]) -> list[Request]:
        """An element of the same key may be another pod's, that an ADD failed because of."""
        found = [
            entry._replace(element=element)
            for entry in entries
            if (element := self._ruleset.find(TABLE, entry.map, entry.element.key))
            and element.comment == call.tag
        ]
        return plan_requests(found, nftset.delete_elements)

    def _plan_collect(self, call: Call) -> list[Request]:
        is_stale = call.find_stale()
        stale = [
            Entry(name, element)
            for name in map_names()
            for element in self._ruleset.list(TABLE, name)
            if is_stale(element.comment)
        ]
        return plan_requests(stale, nftset.delete_elements)

    def _plan_retire(self) -> list[Request]:
        names = (*map_names(), *(f"many{version}" for version in (4, 6)))
        if not self._ruleset.has_table(TABLE) or any(self._ruleset.list(TABLE, name) for name in names):
            return []
        return [nftables.delete_table(TABLE)]


def _split(
    mappings: Sequence[PortMapping], plan: Callable[[Sequence[PortMapping]], list[Entry]]
) -> tuple[list[Entry], list[Entry]]:
    """The entries of one's own, and of those that are shared."""
    own, shared = ([one for one in mappings if one.shared is kind] for kind in (False, True))
    return plan(own), plan(shared)


def _parse(call: Call) -> list[PortMapping]:
    conf = json.convert(drop_nulls(call.conf), _Conf, call.what)
    if conf.backend != "nftables" or conf.conditions_v4 or conf.conditions_v6 or conf.external_set_mark_chain:
        raise Unimplemented(
            f"{call.what}: options of the iptables backend are not supported",
            hint="leave portmap out of the built-in plugins to use the plugin program",
        )
    if not conf.snat or conf.masq_all:
        raise Unimplemented(f"{call.what}: snat false and masqAll are not supported")
    return [mapping for mapping in conf.runtime_config.port_mappings if mapping.host_port]


def _open_ways(previous: Result, ips: Sequence[IpInterface]) -> None:
    """Let 127.0.0.1 out to the pod, and the pod's own packets back in by its port of the bridge.

    The second is for hosts where bridged packets pass the firewall (br_netfilter):
    a translated one is handed straight on by the bridge.
    """
    with NetlinkSocket() as host:
        for ip in ips:
            if ip.version == 4:
                ifindex = route.parse_route(host.query(route.find_route(ip.ip))).ifindex
                name = link.parse_link(host.query(link.get_link_at(ifindex))).name
                write_sysctl(f"net/ipv4/conf/{name}/route_localnet", "1")
        for interface in previous.interfaces:
            if not interface.sandbox:
                found = link.find_link(host, interface.name)
                if found and found.kind == "veth" and found.master:
                    host.execute(link.set_bridge_port(found.name, hairpin=True))
