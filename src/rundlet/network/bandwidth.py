"""bandwidth: rates of a pod's traffic (capability bandwidth), in process.

to the pod     host end of the veth: tbf
from the pod   host end of the veth: ingress, all redirected → ifb bwpHASH: tbf
"""

from msgspec import Struct

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from rundlet.netlink import link, traffic
from rundlet.netlink.link import Link
from rundlet.netlink.message import Request
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call, require_previous
from rundlet.network.podlink import collect_host_interfaces, delete_host_interface, host_interface
from rundlet.spec import json
from rundlet.spec.cni import Result
from rundlet.spec.document import drop_nulls

_PREFIX = "bwp"
# How long a packet may wait in the queue, as in the reference plugin.
_LATENCY_MS = 25


class Rates(Struct, frozen=True, rename="camel"):
    """Bits a second, and bits; 0 is unbounded.  Ingress is towards the pod."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


class _RuntimeConfig(Struct, frozen=True):
    bandwidth: Rates = Rates()


class _Conf(Rates, frozen=True, rename="camel"):
    shaped_subnets: tuple[str, ...] = ()
    unshaped_subnets: tuple[str, ...] = ()
    runtime_config: _RuntimeConfig = _RuntimeConfig()


class Bandwidth(Builtin):
    def add(self, call: Call) -> Result:
        rates = _parse(call)
        previous = require_previous(call)
        if rates != Rates():
            with NetlinkSocket() as host:
                port = _find_port(call, previous, host)
                _limit(call, rates, port, host)
        return previous

    def delete(self, call: Call) -> None:
        """The veth's own disciplines go with it."""
        delete_host_interface(call, _PREFIX)

    def check(self, call: Call) -> None:
        rates = _parse(call)
        if rates == Rates():
            return
        with NetlinkSocket() as host:
            port = _find_port(call, require_previous(call), host)
            ifb = link.find_link(host, host_interface(call, _PREFIX))
            present = set(map(traffic.parse_qdisc, host.dump(traffic.list_qdiscs())))
        if rates.ingress_rate and (port.ifindex, "tbf") not in present:
            raise FailedPrecondition(f"{call.what}: {port.name} has lost its rate")
        if rates.egress_rate and (ifb is None or (ifb.ifindex, "tbf") not in present):
            raise FailedPrecondition(f"{call.what}: the rate of what the pod sends is lost")

    def status(self, call: Call) -> None:
        _parse(call)

    def collect(self, call: Call) -> None:
        collect_host_interfaces(call)


def _parse(call: Call) -> Rates:
    conf = json.convert(drop_nulls(call.conf), _Conf, call.what)
    if conf.shaped_subnets or conf.unshaped_subnets:
        raise Unimplemented(
            f"{call.what}: rates for some subnets only are not supported",
            hint="leave bandwidth out of the built-in plugins to use the plugin program",
        )
    asked = conf.runtime_config.bandwidth
    given = Rates(conf.ingress_rate, conf.ingress_burst, conf.egress_rate, conf.egress_burst)
    rates = given if asked == Rates() else asked
    for way, rate, burst in (
        ("ingress", rates.ingress_rate, rates.ingress_burst),
        ("egress", rates.egress_rate, rates.egress_burst),
    ):
        if rate < 0 or burst < 0 or bool(rate) != bool(burst):
            raise InvalidArgument(f"{call.what}: {way}Rate and {way}Burst go together, both above 0")
    return rates


def plan_bucket(ifindex: int, rate_bits: int, burst_bits: int) -> Request:
    """The token bucket for a rate in bits a second and a burst in bits."""
    rate, burst = max(rate_bits // 8, 1), max(burst_bits // 8, 1)
    return traffic.new_token_bucket(ifindex, rate=rate, burst=burst, limit=rate * _LATENCY_MS // 1000 + burst)


def _find_port(call: Call, previous: Result, host: NetlinkSocket) -> Link:
    """The host's end of the pod's veth."""
    for interface in previous.interfaces:
        found = None if interface.sandbox else link.find_link(host, interface.name)
        if found and found.kind == "veth":
            return found
    raise FailedPrecondition(f"{call.what}: the pod has no veth whose rate could be bounded")


def _limit(call: Call, rates: Rates, port: Link, host: NetlinkSocket) -> None:
    try:
        if rates.ingress_rate:
            host.execute(plan_bucket(port.ifindex, rates.ingress_rate, rates.ingress_burst))
        if rates.egress_rate:
            name = host_interface(call, _PREFIX)
            host.execute(link.new_ifb(name, mtu=port.mtu), link.set_alias(name, call.tag))
            ifb = link.parse_link(host.query(link.get_link(name))).ifindex
            host.execute(
                plan_bucket(ifb, rates.egress_rate, rates.egress_burst),
                traffic.new_ingress(port.ifindex),
                traffic.redirect_received(port.ifindex, ifb),
            )
    except (NotFound, Unimplemented) as error:
        raise FailedPrecondition(
            f"{call.what}: this kernel cannot bound rates: {error.message}",
            hint="it needs tbf, ifb, u32 and mirred (CONFIG_NET_SCH_TBF, IFB, NET_CLS_U32, NET_ACT_MIRRED)",
        ) from error
