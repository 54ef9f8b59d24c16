"""Ports of a pod that lead to others of the same pod: a service's port to the one that its pods listen on.

table inet rundlet-redirects {            in the pod's own network namespace, and gone with it
    map ports { proto . port : port }
    chain prerouting { nat hook prerouting dstnat; fib daddr type local redirect to proto . dport map @ports }
    chain output     { nat hook output dstnat;     the same }
}
"""

from collections.abc import Sequence
from typing import NamedTuple

from rundlet.netlink import expression, nftables, nftset
from rundlet.netlink.message import Request
from rundlet.netlink.nftset import PORT, PROTOCOL, Element, SetPlan
from rundlet.netlink.socket import NETLINK_NETFILTER, NetlinkSocket
from rundlet.network.hostports import PROTOCOLS
from rundlet.network.namespace import run_inside

_TABLE = "rundlet-redirects"
_MAP = "ports"
_HOOKS = (("prerouting", nftables.PREROUTING), ("output", nftables.OUTPUT))


class Redirect(NamedTuple):
    """Connections to `port` come to `target`; `protocol` is tcp, udp or sctp."""

    port: int
    target: int
    protocol: str = "tcp"


def redirect_ports(netns_fd: int, redirects: Sequence[Redirect], what: str) -> None:
    """In a namespace that has none yet; `what` names it in errors.  Raises Unavailable."""

    def act() -> None:
        with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
            netfilter.execute(*nftables.batch(*plan_redirects(redirects)))

    run_inside(netns_fd, act, what)


def plan_redirects(redirects: Sequence[Redirect]) -> list[Request]:
    """The transaction."""
    rule = (
        *expression.match_local_destination(),
        expression.load_protocol(),
        expression.load_destination_port(1),
        expression.look_up(_MAP, into=0),
        expression.redirect(),
    )
    hooks = [
        (chain, nftables.Hook("nat", number, nftables.PRIORITY_DESTINATION_NAT)) for chain, number in _HOOKS
    ]
    return [
        nftables.new_table(_TABLE, "ports of services"),
        nftset.new_set(_TABLE, SetPlan(_MAP, (PROTOCOL, PORT), data=(PORT,))),
        *(nftables.new_chain(_TABLE, chain, hook) for chain, hook in hooks),
        *(nftables.new_rule(_TABLE, chain, rule) for chain, _ in hooks),
        nftset.add_elements(_TABLE, _MAP, [_plan_element(one) for one in redirects]),
    ]


def _plan_element(one: Redirect) -> Element:
    fields = [bytes([PROTOCOLS[one.protocol]]), one.port.to_bytes(2, "big")]
    return Element(expression.concatenate(fields), expression.concatenate([one.target.to_bytes(2, "big")]))
