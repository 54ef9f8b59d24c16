import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import FailedPrecondition, InvalidArgument, Unimplemented
from rundlet.netlink.address import Address
from rundlet.netlink.link import Link, LinkStats
from rundlet.network.bridgeplan import (
    BridgeConf,
    parse_bridge_conf,
    plan_bridge,
    plan_gateways,
    plan_routes,
)
from rundlet.network.call import Attachment, Call
from rundlet.network.ipam import Ipam
from rundlet.network.podlink import derive_mac, host_interface
from rundlet.spec.cni import IpConfig, Result, Route

UP = Link(
    2,
    "cni0",
    "bridge",
    up=True,
    promiscuous=False,
    allmulti=False,
    mtu=1500,
    txqlen=1000,
    mac="02:00:00:00:00:01",
    master=0,
    alias="",
    stats=LinkStats("cni0", *[0] * 8),
)
GATEWAY = ipaddress.ip_interface("10.88.0.1/16")


def call(container_id="pod1", **conf):
    attachment = Attachment(container_id, "eth0")
    return Call("mynet", "0.4.0", "bridge", {"type": "bridge", **conf}, attachment, None, None)


@pytest.mark.parametrize(
    "option",
    [
        {"vlan": 7},
        {"vlanTrunk": [{"id": 7}]},
        {"macspoofchk": True},
        {"enabledad": True},
        {"disableContainerInterface": True},
        {"ipMasqBackend": "iptables"},
    ],
)
def test_option_that_is_not_done_is_refused_by_name(option):
    (name,) = option
    with pytest.raises(Unimplemented, match=name):
        parse_bridge_conf(call(**option))


def test_option_set_to_its_default_is_fine():
    parse_bridge_conf(call(vlan=0, vlanTrunk=None, macspoofchk=False, ipMasqBackend="nftables"))


def test_wrong_type_has_its_path():
    with pytest.raises(InvalidArgument, match="network mynet: plugin bridge: mtu: "):
        parse_bridge_conf(call(mtu="big"))


def test_ipam_without_a_type_is_refused():
    with pytest.raises(InvalidArgument, match="ipam.type"):
        Ipam({}.__getitem__).add(call(ipam={"subnet": "10.88.0.0/16"}))


@given(st.text(min_size=1))
def test_host_interface_fits_the_kernel_and_differs(container_id):
    name = host_interface(call(container_id))

    assert len(name) == 15
    assert name != host_interface(call(container_id + "x"))


def test_ready_bridge_needs_nothing():
    assert plan_bridge(UP, [Address(2, GATEWAY, 0)], BridgeConf(), [GATEWAY]) == []


def test_new_bridge_is_set_up_and_gets_its_address():
    requests = plan_bridge(UP._replace(up=False), [], BridgeConf(), [GATEWAY])

    assert [request.purpose for request in requests] == [
        "set link 2 up",
        "add address 10.88.0.1/16 to link 2",
    ]


def test_other_address_is_a_conflict():
    other = Address(2, ipaddress.ip_interface("10.99.0.1/16"), 0)

    with pytest.raises(FailedPrecondition, match="bridge cni0 has address 10.99.0.1/16"):
        plan_bridge(UP, [other], BridgeConf(), [GATEWAY])


def test_force_address_replaces_it():
    other = Address(2, ipaddress.ip_interface("10.99.0.1/16"), 0)

    requests = plan_bridge(UP, [other], BridgeConf(force_address=True), [GATEWAY])

    assert [request.purpose for request in requests] == [
        "delete address 10.99.0.1/16 of link 2",
        "add address 10.88.0.1/16 to link 2",
    ]


def test_other_ipv6_subnet_and_link_local_are_no_conflict():
    present = [
        Address(2, ipaddress.ip_interface("fd01::1/64"), 0),
        Address(2, ipaddress.ip_interface("fe80::1/64"), 253),
    ]

    requests = plan_bridge(UP, present, BridgeConf(), [ipaddress.ip_interface("fd00::1/64")])

    assert [request.purpose for request in requests] == ["add address fd00::1/64 to link 2"]


def test_gateways_carry_the_subnets_prefix_length():
    ips = [IpConfig("10.88.0.2/16", "10.88.0.1"), IpConfig("fd00::2/64", "fd00::1")]

    assert {str(ip) for ip in plan_gateways(ips).values()} == {"10.88.0.1/16", "fd00::1/64"}


def test_default_gateway_adds_only_missing_default_routes():
    given_by_ipam = Result(
        ips=(IpConfig("10.88.0.2/16", "10.88.0.1"), IpConfig("fd00::2/64", "fd00::1")),
        routes=(Route("0.0.0.0/0", "10.88.0.9"),),
    )

    routes = plan_routes(BridgeConf(is_default_gateway=True), given_by_ipam)

    assert routes == (Route("0.0.0.0/0", "10.88.0.9"), Route("::/0", "fd00::1"))
    assert plan_routes(BridgeConf(), given_by_ipam) == given_by_ipam.routes


def test_mac_follows_from_the_address():
    assert derive_mac([IpConfig("fd00::2/64"), IpConfig("10.88.0.2/16")]) == "0a:58:0a:58:00:02"


@pytest.mark.parametrize("ips", [[], [IpConfig("fd00::2/64")], [IpConfig("10.88.0.2/16")]], ids=len)
def test_made_up_mac_is_local_and_unicast(ips):
    first = int(derive_mac(ips)[:2], 16)

    assert first & 3 == 2
