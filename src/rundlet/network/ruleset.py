"""The host's nftables ruleset, changed by transactions that were planned on what it held.

One socket for good: closing a netfilter socket waits until the kernel has
freed every deleted table of the namespace, 11 ms (nft_rcv_nl_event).
"""

import functools
from collections.abc import Callable, Sequence

from rundlet.errors import NotFound, Unavailable
from rundlet.netlink import nftables, nftset
from rundlet.netlink.message import Request
from rundlet.netlink.nftset import Element
from rundlet.netlink.socket import NETLINK_NETFILTER, NetlinkSocket

# Somebody else was faster each time: service proxies rewrite the ruleset every few seconds.
_TRIES = 32


class Ruleset:
    """Thread-safe."""

    @functools.cached_property
    def netfilter(self) -> NetlinkSocket:
        return NetlinkSocket(NETLINK_NETFILTER)

    def change(self, plan: Callable[[], Sequence[Request]]) -> None:
        """Do what `plan` says, which reads; it is asked again when the ruleset changed meanwhile."""
        for _ in range(_TRIES):
            generation = nftables.parse_generation(self.netfilter.query(nftables.get_generation()))
            requests = plan()
            if not requests:
                return
            try:
                self.netfilter.execute(*nftables.batch(*requests, generation=generation))
            except Unavailable:
                continue
            return
        raise Unavailable(f"the nftables ruleset changed {_TRIES} times while it was being changed")

    def has_table(self, table: str) -> bool:
        return self.read_comment(table) is not None

    def read_comment(self, table: str) -> str | None:
        """The table's comment, None when there is no table."""
        try:
            return nftables.parse_table_comment(self.netfilter.query(nftables.get_table(table)))
        except NotFound:
            return None

    def find(self, table: str, name: str, key: bytes) -> Element | None:
        """The element with this key."""
        try:
            answer = self.netfilter.query(nftset.get_element(table, name, key))
        except NotFound:
            return None
        return next(iter(nftset.parse_elements(answer)), None)

    def list(self, table: str, name: str) -> list[Element]:
        """All elements; none where there is no such table."""
        try:
            answers = self.netfilter.dump(nftset.list_elements(table, name))
        except NotFound:
            return []
        return [element for answer in answers for element in nftset.parse_elements(answer)]

    def delete_table(self, table: str) -> None:
        """Idempotent.  Asked about first: a refused transaction waits for a grace period of RCU as well (14 ms)."""
        if not self.has_table(table):
            return
        try:
            self.netfilter.execute(*nftables.batch(nftables.delete_table(table)))
        except NotFound:
            pass
