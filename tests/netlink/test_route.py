import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import AlreadyExists, DataLoss
from rundlet.netlink import address, link, route
from rundlet.netlink.message import Message
from rundlet.netlink.route import Route
from rundlet.netlink.socket import NetlinkSocket


def networks(version):
    width = 32 if version == 4 else 128
    return st.builds(
        lambda ip, size: ipaddress.ip_network((ip, size), strict=False),
        st.ip_addresses(v=version),
        st.integers(0, width),
    )


def routes(version):
    return st.builds(
        Route,
        ifindex=st.integers(1, 2**31 - 1),
        destination=networks(version),
        gateway=st.none() | st.ip_addresses(v=version),
        scope=st.sampled_from([route.SCOPE_UNIVERSE, route.SCOPE_LINK]),
        table=st.integers(1, 2**32 - 1),
        priority=st.integers(0, 2**32 - 1),
        mtu=st.integers(0, 65535),
        advmss=st.integers(0, 65535),
    )


@given(routes(4) | routes(6))
def test_request_parses_back(wanted):
    assert route.parse_route(Message(24, 0, 1, route.new_route(wanted).body)) == wanted


@given(st.binary(max_size=80))
def test_any_body_is_a_route_or_refused(body):
    try:
        found = route.parse_route(Message(24, 0, 1, body))
    except DataLoss:
        return
    assert found.destination.version in {4, 6}


@pytest.mark.kernel
@pytest.mark.usefixtures("fresh_netns")
def test_routes_are_those_ip_shows(ask):
    with NetlinkSocket() as host:
        host.execute(link.new_bridge("cni0", mac="02:00:00:00:00:07"))
        ifindex = link.parse_link(host.query(link.get_link("cni0"))).ifindex
        wanted = Route(
            ifindex,
            ipaddress.ip_network("0.0.0.0/0"),
            gateway=ipaddress.ip_address("10.88.0.1"),
            priority=5,
            mtu=1300,
            advmss=1200,
        )
        host.execute(
            link.set_up(ifindex),
            address.new_address(ifindex, ipaddress.ip_interface("10.88.0.2/16")),
            route.new_route(wanted),
        )
        with pytest.raises(AlreadyExists, match="route to 0.0.0.0/0 by way of 10.88.0.1"):
            host.execute(route.new_route(wanted))
        found = [route.parse_route(answer) for answer in host.dump(route.list_routes(socket.AF_INET))]

    assert wanted in found
    seen = next(one for one in ask("ip", "-j", "-4", "route") if one["dst"] == "default")
    assert (seen["gateway"], seen["dev"], seen["metric"]) == ("10.88.0.1", "cni0", 5)
    assert seen["metrics"] == [{"mtu": 1300, "advmss": 1200}]


@pytest.mark.kernel
@pytest.mark.usefixtures("fresh_netns")
def test_route_in_another_table(ask):
    with NetlinkSocket() as host:
        host.execute(link.new_bridge("cni0", mac="02:00:00:00:00:07"))
        ifindex = link.parse_link(host.query(link.get_link("cni0"))).ifindex
        wanted = Route(ifindex, ipaddress.ip_network("fd01::/64"), table=1000, priority=7)
        host.execute(link.set_up(ifindex), route.new_route(wanted))
        found = [route.parse_route(answer) for answer in host.dump(route.list_routes(socket.AF_INET6, 1000))]

    assert found == [wanted]
    assert ask("ip", "-j", "-6", "route", "show", "table", "1000")[0]["dst"] == "fd01::/64"
