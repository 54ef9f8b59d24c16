"""macvlan: an interface of the pod's own MAC on a device of the host, with no bridge between."""

import socket
from collections.abc import Callable
from typing import Any

from msgspec import structs

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from rundlet.netlink import link, route
from rundlet.netlink.link import Link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network.call import Builtin, Call, Plugin
from rundlet.network.ipam import Ipam
from rundlet.network.namespace import open_route_socket
from rundlet.network.podlink import MacRequest, check_mac, check_pod, configure_pod
from rundlet.spec import json
from rundlet.spec.cni import Dns, Interface, Result
from rundlet.spec.document import drop_nulls


class _Conf(MacRequest, frozen=True, rename="camel"):
    """`master` "" is the device of the default route; `link_in_container` is refused when set."""

    master: str = ""
    mode: str = "bridge"
    mtu: int = 0
    link_in_container: bool = False
    bcqueuelen: int = 0
    ipam: dict[str, Any] = {}
    dns: Dns = Dns()


class Macvlan(Builtin):
    """`find_plugin` gives the IPAM plugin for its type.  The link goes with the pod's namespace."""

    def __init__(self, find_plugin: Callable[[str], Plugin]) -> None:
        self._ipam = Ipam(find_plugin)

    def add(self, call: Call) -> Result:
        conf = _parse(call)
        parent = _find_parent(call, conf)
        given = self._ipam.add(call)
        pod = call.attachment
        request = link.new_macvlan(
            pod.ifname,
            parent=parent.ifindex,
            mode=conf.mode,
            netns_fd=pod.netns_fd,
            mac=conf.mac,
            mtu=conf.mtu,
        )
        with NetlinkSocket() as host:
            host.execute(request)
        own = configure_pod(call, given.ips, given.routes)
        return Result(
            interfaces=(Interface(own.name, own.mac, sandbox=pod.netns_path),),
            ips=tuple(structs.replace(ip, interface=0) for ip in given.ips),
            routes=given.routes,
            dns=conf.dns if conf.dns != Dns() else given.dns,
        )

    def delete(self, call: Call) -> None:
        delete_pod_interface(call)
        self._ipam.delete(call)

    def check(self, call: Call) -> None:
        self._ipam.check(call)
        check_pod(call)

    def status(self, call: Call) -> None:
        _find_parent(call, _parse(call))
        self._ipam.status(call)

    def collect(self, call: Call) -> None:
        self._ipam.collect(call)


def delete_pod_interface(call: Call) -> None:
    """Delete the pod's interface in its namespace; idempotent, and nothing to do where that is gone."""
    try:
        route_fd = open_route_socket(call.attachment.netns_path)
    except NotFound:
        return
    with NetlinkSocket(fd=route_fd, owned=True) as pod:
        try:
            pod.execute(link.delete_link(call.attachment.ifname))
        except NotFound:
            pass


def _parse(call: Call) -> _Conf:
    conf = json.convert(drop_nulls(call.conf), _Conf, call.what)
    if conf.mode not in link.MACVLAN_MODES:
        raise InvalidArgument(f"{call.what}: mode: {conf.mode!r} is none of {', '.join(link.MACVLAN_MODES)}")
    if conf.link_in_container or conf.bcqueuelen:
        raise Unimplemented(
            f"{call.what}: linkInContainer and bcqueuelen are not supported",
            hint="leave macvlan out of the built-in plugins to use the plugin program",
        )
    check_mac(conf.mac, call.what)
    return conf


def _find_parent(call: Call, conf: _Conf) -> Link:
    with NetlinkSocket() as host:
        if not conf.master:
            routes = map(route.parse_route, host.dump(route.list_routes(socket.AF_INET)))
            default = [one for one in routes if not one.destination.prefixlen]
            if not default:
                raise FailedPrecondition(f"{call.what}: master: none is named, and there is no default route")
            first = min(default, key=lambda one: one.priority)
            return link.parse_link(host.query(link.get_link_at(first.ifindex)))
        found = link.find_link(host, conf.master)
    if found is None:
        raise FailedPrecondition(f"{call.what}: master: there is no interface {conf.master}")
    return found
