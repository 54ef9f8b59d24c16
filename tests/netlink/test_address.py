import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import AlreadyExists, DataLoss
from rundlet.netlink import address, link
from rundlet.netlink.address import Address
from rundlet.netlink.message import Message
from rundlet.netlink.socket import NetlinkSocket

INTERFACES = st.one_of(
    st.builds(
        lambda ip, size: ipaddress.ip_interface((int(ip), size)), st.ip_addresses(v=4), st.integers(0, 32)
    ),
    st.builds(
        lambda ip, size: ipaddress.IPv6Interface((int(ip), size)), st.ip_addresses(v=6), st.integers(0, 128)
    ),
)


@given(st.integers(1, 2**31 - 1), INTERFACES)
def test_request_parses_back(ifindex, ip):
    body = address.new_address(ifindex, ip).body

    assert address.parse_address(Message(20, 0, 1, body)) == Address(ifindex, ip, 0)


@given(st.binary(max_size=80))
def test_any_body_is_an_address_or_refused(body):
    try:
        found = address.parse_address(Message(20, 0, 1, body))
    except DataLoss:
        return
    assert found.ip.version in {4, 6}


@pytest.mark.kernel
@pytest.mark.usefixtures("fresh_netns")
def test_addresses_are_those_ip_shows(ask):
    v4, v6 = ipaddress.ip_interface("10.88.0.1/16"), ipaddress.ip_interface("fd00::1/64")
    with NetlinkSocket() as route:
        route.execute(link.new_bridge("cni0", mac="02:00:00:00:00:07"))
        ifindex = link.parse_link(route.query(link.get_link("cni0"))).ifindex
        route.execute(address.new_address(ifindex, v4), address.new_address(ifindex, v6))
        with pytest.raises(AlreadyExists):
            route.execute(address.new_address(ifindex, v4))
        found = [address.parse_address(answer) for answer in route.dump(address.list_addresses(ifindex))]

    assert {one.ip for one in found if not one.link_local} == {v4, v6}
    (seen,) = ask("ip", "-j", "address", "show", "cni0")
    shown = {f"{one['local']}/{one['prefixlen']}": one for one in seen["addr_info"]}
    assert shown["10.88.0.1/16"]["broadcast"] == "10.88.255.255"
    assert shown["fd00::1/64"]["nodad"] is True


@pytest.mark.kernel
@pytest.mark.usefixtures("fresh_netns")
def test_deleted_address_is_gone(ask):
    ip = ipaddress.ip_interface("10.88.0.1/16")
    with NetlinkSocket() as route:
        route.execute(link.new_bridge("cni0", mac="02:00:00:00:00:07"))
        ifindex = link.parse_link(route.query(link.get_link("cni0"))).ifindex
        route.execute(address.new_address(ifindex, ip), address.delete_address(ifindex, ip))

    (seen,) = ask("ip", "-j", "address", "show", "cni0")
    assert seen["addr_info"] == []
