"""firewall: let a pod's packets through the host, and keep networks from one another (ingressPolicy).

    table inet rundlet-firewall {
        set bridges { ifname }          the bridges of networks with a policy
        set same { ifname . ifname }    a bridge with itself, where its pods may meet
        chain forward { filter hook forward filter;
            iifname . oifname @same accept
            iifname @bridges oifname @bridges drop } }

    open          nothing of this
    same-bridge   pods of other such bridges cannot reach it
    isolated      neither can its neighbours: the bridge's ports are isolated too

An accept of one table does not overrule a drop of another.  Where the host's
own firewall forwards nothing unasked (table ip filter, chain FORWARD, as
iptables-nft writes it), each pod gets rules at its head: what it sends, what
answers it, and what a host port leads to it.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from rundlet.netlink import expression, link, nftables, nftset
from rundlet.netlink.address import IpInterface
from rundlet.netlink.message import Request
from rundlet.netlink.nftset import IFNAME, Element, SetPlan
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call, pod_ips, require_previous
from rundlet.network.ruleset import Ruleset
from rundlet.spec import json
from rundlet.spec.cni import Result
from rundlet.spec.document import drop_nulls

TABLE = "rundlet-firewall"
_BRIDGES = SetPlan("bridges", (IFNAME,))
_SAME = SetPlan("same", (IFNAME, IFNAME))
_FORWARD = nftables.Hook("filter", nftables.FORWARD, nftables.PRIORITY_FILTER)
_HOST_TABLE, _HOST_CHAIN = "filter", "FORWARD"
_FAMILIES = {4: nftables.FAMILY_IP4, 6: nftables.FAMILY_IP6}
_POLICIES = ("open", "same-bridge", "isolated")


class _Conf(Struct, frozen=True, rename="camel"):
    backend: str = "nftables"
    ingress_policy: str = "open"


class Firewall(Builtin):
    """`ruleset` may be shared with other plugins."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset

    def add(self, call: Call) -> Result:
        conf = _parse(call)
        previous = require_previous(call)
        if conf.ingress_policy != "open":
            self._ruleset.change(lambda: self._plan_policy(call, conf, previous))
        if conf.ingress_policy == "isolated":
            _isolate_ports(previous)
        for ip in pod_ips(previous):
            self._admit(call, ipaddress.ip_interface(ip.address))
        return previous

    def delete(self, call: Call) -> None:
        self._expel(lambda comment: comment == call.tag)

    def check(self, call: Call) -> None:
        conf = _parse(call)
        previous = require_previous(call)
        if conf.ingress_policy != "open" and self._plan_policy(call, conf, previous):
            raise FailedPrecondition(
                f"{call.what}: the rules of ingressPolicy {conf.ingress_policy} are gone"
            )
        for ip in pod_ips(previous):
            version = ipaddress.ip_interface(ip.address).version
            if self._has_host_chain(version) and not self._rules_of(version, lambda text: text == call.tag):
                raise FailedPrecondition(f"{call.what}: the rules for {ip.address} are gone")

    def status(self, call: Call) -> None:
        _parse(call)
        self._ruleset.has_table(TABLE)

    def collect(self, call: Call) -> None:
        self._expel(call.find_stale())
        if not call.valid:
            self.retire(call)

    def retire(self, call: Call) -> None:
        """Take the network's bridge out of the policy, and with the last one the table away."""
        self._ruleset.change(lambda: self._plan_retire(call))

    def _plan_policy(self, call: Call, conf: _Conf, previous: Result) -> list[Request]:
        """What is missing."""
        name = next((one.name for one in previous.interfaces if not one.sandbox), "")
        if not name:
            raise FailedPrecondition(f"{call.what}: ingressPolicy: the pod has no interface on this host")
        key = expression.pack_name(name)
        wanted = [("bridges", Element(key, comment=_comment(call)))]
        if conf.ingress_policy == "same-bridge":
            wanted.append(("same", Element(key * 2, comment=_comment(call))))
        requests = [] if self._ruleset.has_table(TABLE) else plan_table()
        missing = wanted
        if not requests:
            missing = [(n, one) for n, one in wanted if not self._ruleset.find(TABLE, n, one.key)]
        return requests + [nftset.add_elements(TABLE, n, [one]) for n, one in missing]

    def _plan_retire(self, call: Call) -> list[Request]:
        if not self._ruleset.has_table(TABLE):
            return []
        requests: list[Request] = []
        for plan in (_BRIDGES, _SAME):
            elements = self._ruleset.list(TABLE, plan.name)
            own = [element for element in elements if element.comment == _comment(call)]
            if plan is _BRIDGES and len(own) == len(elements):
                return [nftables.delete_table(TABLE)]
            if own:
                requests.append(nftset.delete_elements(TABLE, plan.name, own))
        return requests

    def _has_host_chain(self, version: int) -> bool:
        try:
            self._ruleset.netfilter.query(nftables.get_chain(_HOST_TABLE, _HOST_CHAIN, _FAMILIES[version]))
        except NotFound:
            return False
        return True

    def _admit(self, call: Call, ip: IpInterface) -> None:
        if self._has_host_chain(ip.version):
            family = _FAMILIES[ip.version]
            rules = [
                nftables.insert_rule(_HOST_TABLE, _HOST_CHAIN, rule, call.tag, family)
                for rule in _plan_admission(ip)
            ]
            self._ruleset.netfilter.execute(*nftables.batch(*rules))

    def _expel(self, is_meant: Callable[[str], bool]) -> None:
        self._ruleset.change(
            lambda: [
                nftables.delete_rule(_HOST_TABLE, _HOST_CHAIN, rule.handle, family)
                for version, family in _FAMILIES.items()
                for rule in self._rules_of(version, is_meant)
            ]
        )

    def _rules_of(self, version: int, is_meant: Callable[[str], bool]) -> Sequence[nftables.Rule]:
        listing = nftables.list_rules(_HOST_TABLE, _HOST_CHAIN, _FAMILIES[version])
        try:
            rules = map(nftables.parse_rule, self._ruleset.netfilter.dump(listing))
        except NotFound:
            return []
        return [rule for rule in rules if is_meant(rule.comment)]


def plan_table() -> list[Request]:
    """The table, without networks."""
    same = (expression.load_input_name(), expression.load_output_name(4), expression.look_up("same"))
    among = (
        expression.load_input_name(),
        expression.look_up("bridges"),
        expression.load_output_name(),
        expression.look_up("bridges"),
    )
    return [
        nftables.new_table(TABLE, "which networks of pods may meet"),
        nftset.new_set(TABLE, _BRIDGES),
        nftset.new_set(TABLE, _SAME),
        nftables.new_chain(TABLE, "forward", _FORWARD),
        nftables.new_rule(TABLE, "forward", (*same, expression.accept())),
        nftables.new_rule(TABLE, "forward", (*among, expression.drop())),
    ]


def _plan_admission(ip: IpInterface) -> Iterable[tuple[bytes, ...]]:
    pod = ipaddress.ip_network(ip.ip)
    to_pod = expression.match_destination(pod)
    return (
        (*expression.match_source(pod), expression.accept()),
        (*to_pod, *expression.match_answers(), expression.accept()),
        (*to_pod, *expression.match_translated(), expression.accept()),
    )


def _parse(call: Call) -> _Conf:
    conf = json.convert(drop_nulls(call.conf), _Conf, call.what)
    if conf.backend != "nftables":
        raise Unimplemented(
            f"{call.what}: backend {conf.backend!r} is not supported",
            hint="leave firewall out of the built-in plugins to use the plugin program",
        )
    if conf.ingress_policy not in _POLICIES:
        raise InvalidArgument(
            f"{call.what}: ingressPolicy {conf.ingress_policy!r} is none of {', '.join(_POLICIES)}"
        )
    return conf


def _isolate_ports(previous: Result) -> None:
    with NetlinkSocket() as host:
        for interface in previous.interfaces:
            found = None if interface.sandbox else link.find_link(host, interface.name)
            if found and found.master:
                host.execute(link.set_bridge_port(found.name, isolated=True))


def _comment(call: Call) -> str:
    return f"rundlet {call.network}"
