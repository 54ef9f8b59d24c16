"""Source NAT of a network's traffic to elsewhere: one nftables table a network, one rule a subnet.

    table inet rundlet-<network> {
        comment "10.88.0.0/16"
        chain postrouting { type nat hook postrouting priority srcnat;
            ip saddr 10.88.0.0/16 ip daddr != 10.88.0.0/16 ip daddr != 224.0.0.0/4 masquerade } }

The comment lists the subnets, so that one small question tells whether a pod's
is covered.  Rules are for a whole subnet: no change as pods come and go.
"""

import functools
import ipaddress
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from rundlet.errors import NotFound, Unimplemented
from rundlet.netlink import nftables
from rundlet.netlink.address import IpNetwork
from rundlet.netlink.message import Request
from rundlet.netlink.socket import NETLINK_NETFILTER, NetlinkSocket

_CHAIN = "postrouting"
_MULTICAST = {4: ipaddress.ip_network("224.0.0.0/4"), 6: ipaddress.ip_network("ff00::/8")}
_COMMENT_MAX_BYTES = 253


class Masquerade:
    """The tables of all networks; thread-safe.

    One socket for good: closing a netfilter socket waits until the kernel has
    freed every deleted table of the namespace, 11 ms (nft_rcv_nl_event).
    """

    @functools.cached_property
    def _netfilter(self) -> NetlinkSocket:
        return NetlinkSocket(NETLINK_NETFILTER)

    def ensure(
        self, network: str, subnets: Iterable[IpNetwork], lock: Callable[[], AbstractContextManager[None]]
    ) -> None:
        """Masquerade what leaves `subnets`; `lock` is the network's, taken only when a rule is missing."""
        wanted = set(map(str, subnets))
        table = _table(network)
        if wanted <= set(self._read_subnets(table) or ()):
            return
        with lock():
            found = self._read_subnets(table)
            missing = wanted.difference(found or ())
            if missing:
                covered = sorted(missing.union(found or ()))
                self._netfilter.execute(*plan_table(table, covered, replace=found is not None))

    def delete(self, network: str) -> None:
        """Delete the network's table; idempotent."""
        try:
            self._netfilter.execute(*nftables.batch(nftables.delete_table(_table(network))))
        except NotFound:
            pass

    def _read_subnets(self, table: str) -> list[str] | None:
        """The subnets of the table, None when there is no table."""
        try:
            return nftables.parse_table_comment(self._netfilter.query(nftables.get_table(table))).split()
        except NotFound:
            return None


def plan_table(table: str, subnets: list[str], *, replace: bool) -> tuple[Request, ...]:
    """The transaction that makes the table, in place of one with the same name when `replace`."""
    comment = " ".join(subnets)
    if len(comment) > _COMMENT_MAX_BYTES:
        raise Unimplemented(f"{table}: {len(subnets)} subnets are too many to masquerade for one network")
    return nftables.batch(
        *([nftables.delete_table(table)] if replace else []),
        nftables.new_table(table, comment),
        nftables.new_nat_chain(table, _CHAIN, nftables.POSTROUTING, nftables.PRIORITY_SOURCE_NAT),
        *(nftables.new_rule(table, _CHAIN, _rule(ipaddress.ip_network(subnet))) for subnet in subnets),
    )


def _rule(subnet: IpNetwork) -> tuple[bytes, ...]:
    return (
        *nftables.match_version(subnet.version),
        *nftables.match_source(subnet),
        *nftables.match_other_destination(subnet),
        *nftables.match_other_destination(_MULTICAST[subnet.version]),
        *nftables.masquerade(),
    )


def _table(network: str) -> str:
    return f"rundlet-{network}"
