"""Source NAT of a network's traffic to elsewhere: one nftables table a network, one rule a subnet.

    table inet rundlet-<network> {
        comment "10.88.0.0/16"
        chain postrouting { type nat hook postrouting priority srcnat;
            ip saddr 10.88.0.0/16 ip daddr != 10.88.0.0/16 ip daddr != 224.0.0.0/4 masquerade } }

The comment lists the subnets, so that one small question tells whether a pod's
is covered.  Rules are for a whole subnet: no change as pods come and go.
"""

import ipaddress
from collections.abc import Iterable, Sequence

from rundlet.errors import Unimplemented
from rundlet.netlink import expression, nftables
from rundlet.netlink.address import IpNetwork
from rundlet.netlink.message import Request
from rundlet.network.ruleset import Ruleset

_CHAIN = "postrouting"
_MULTICAST = {4: ipaddress.ip_network("224.0.0.0/4"), 6: ipaddress.ip_network("ff00::/8")}
_HOOK = nftables.Hook("nat", nftables.POSTROUTING, nftables.PRIORITY_SOURCE_NAT)
_COMMENT_MAX_BYTES = 253


class Masquerade:
    """The tables of all networks; thread-safe."""

    def __init__(self, ruleset: Ruleset) -> None:
        self._ruleset = ruleset

    def ensure(self, network: str, subnets: Iterable[IpNetwork]) -> None:
        """Masquerade what leaves `subnets`."""
        wanted = set(map(str, subnets))
        table = _table(network)
        if wanted <= set(self._read_subnets(table) or ()):
            return
        self._ruleset.change(lambda: self._plan(table, wanted))

    def delete(self, network: str) -> None:
        """Delete the network's table; idempotent."""
        self._ruleset.delete_table(_table(network))

    def _plan(self, table: str, wanted: set[str]) -> Sequence[Request]:
        found = self._read_subnets(table)
        if wanted <= set(found or ()):
            return []
        return plan_table(table, sorted(wanted.union(found or ())), replace=found is not None)

    def _read_subnets(self, table: str) -> list[str] | None:
        """The subnets of the table, None when there is no table."""
        comment = self._ruleset.read_comment(table)
        return None if comment is None else comment.split()


def plan_table(table: str, subnets: list[str], *, replace: bool) -> tuple[Request, ...]:
    """The transaction that makes the table, in place of one with the same name when `replace`."""
    comment = " ".join(subnets)
    if len(comment) > _COMMENT_MAX_BYTES:
        raise Unimplemented(f"{table}: {len(subnets)} subnets are too many to masquerade for one network")
    return (
        *([nftables.delete_table(table)] if replace else []),
        nftables.new_table(table, comment),
        nftables.new_chain(table, _CHAIN, _HOOK),
        *(nftables.new_rule(table, _CHAIN, _rule(ipaddress.ip_network(subnet))) for subnet in subnets),
    )


def _rule(subnet: IpNetwork) -> tuple[bytes, ...]:
    return (
        *expression.match_version(subnet.version),
        *expression.match_source(subnet),
        *expression.match_other_destination(subnet),
        *expression.match_other_destination(_MULTICAST[subnet.version]),
        *expression.masquerade(),
    )


def _table(network: str) -> str:
    return f"rundlet-{network}"
