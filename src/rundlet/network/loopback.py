"""loopback: bring lo up in the pod's namespace."""

from rundlet.errors import FailedPrecondition
from rundlet.netlink import link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call
from rundlet.spec.cni import Interface, IpConfig, Result


def set_loopback_up(route_fd: int) -> None:
    """`route_fd`: a NETLINK_ROUTE socket made inside the namespace.  The kernel gives lo its addresses."""
    with NetlinkSocket(fd=route_fd) as route:
        route.execute(link.set_up(link.LOOPBACK_INDEX))


class Loopback(Builtin):
    def add(self, call: Call) -> Result:
        set_loopback_up(call.attachment.route_fd)
        # As the reference: in a chain the former result goes on, alone it tells the addresses.
        return call.previous or Result(
            interfaces=(Interface("lo", mac="00:00:00:00:00:00", sandbox=call.attachment.netns_path),),
            ips=(IpConfig("127.0.0.1/8", interface=0), IpConfig("::1/128", interface=0)),
        )

    def check(self, call: Call) -> None:
        with NetlinkSocket(fd=call.attachment.route_fd) as route:
            if not link.parse_link(route.query(link.get_link("lo"))).up:
                raise FailedPrecondition(f"{call.what}: lo is down")
