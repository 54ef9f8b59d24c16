import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rundlet.errors import DataLoss, NotFound
from rundlet.kernel.namespace import CLONE_NEWNET, unshare
from rundlet.netlink import link
from rundlet.netlink.message import Message
from rundlet.netlink.socket import NetlinkSocket
from rundlet.netlink.traffic import parse_qdisc

in_netns = pytest.mark.usefixtures("fresh_netns")


@pytest.fixture
def pod():
    """(netns fd, route socket fd) of another namespace."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWNET)
            with NetlinkSocket() as route:
                fds = [os.open("/proc/self/ns/net", os.O_RDONLY), route._socket.fileno()]
                socket.send_fds(theirs, [b"."], fds)
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        _, fds, _, _ = socket.recv_fds(ours, 1, 2)
    os.waitpid(child, 0)
    yield fds
    for fd in fds:
        os.close(fd)


@pytest.mark.kernel
@in_netns
def test_bridge_is_as_ip_sees_it(ask):
    with NetlinkSocket() as route:
        route.execute(
            link.new_bridge("cni0", mac="02:00:00:00:00:07", mtu=1400), link.set_alias("cni0", "ours")
        )
        bridge = link.parse_link(route.query(link.get_link("cni0")))
        route.execute(link.set_up(bridge.ifindex, promiscuous=True))
        bridge = link.parse_link(route.query(link.get_link("cni0")))

    (seen,) = ask("ip", "-j", "-d", "link", "show", "cni0")
    assert (bridge.ifindex, bridge.mac, bridge.mtu) == (seen["ifindex"], seen["address"], seen["mtu"])
    assert bridge.kind == seen["linkinfo"]["info_kind"] == "bridge"
    assert bridge.alias == seen["ifalias"] == "ours"
    assert (
        (bridge.up, bridge.promiscuous) == ("UP" in seen["flags"], "PROMISC" in seen["flags"]) == (True, True)
    )


@pytest.mark.kernel
@in_netns
def test_veth_pair_reaches_into_another_namespace(ask, pod):
    netns_fd, route_fd = pod
    with NetlinkSocket() as host:
        host.execute(link.new_bridge("cni0", mac="02:00:00:00:00:07"))
        bridge = link.parse_link(host.query(link.get_link("cni0")))
        veth = link.new_veth(
            "veth1",
            "eth0",
            peer_netns_fd=netns_fd,
            master=bridge.ifindex,
            mac="02:00:00:00:00:08",
            peer_mac="0a:58:0a:58:00:02",
            mtu=1400,
        )
        host.execute(veth, link.set_bridge_port("veth1", hairpin=True, isolated=True))
        (port,) = map(link.parse_link, host.dump(link.list_links(bridge.ifindex)))
    with NetlinkSocket(fd=route_fd) as inside:
        peer = link.parse_link(inside.query(link.get_link("eth0")))

    (seen,) = ask("ip", "-j", "-d", "link", "show", "veth1")
    assert port.name == "veth1"
    assert (seen["master"], seen["address"], seen["mtu"]) == ("cni0", "02:00:00:00:00:08", 1400)
    assert seen["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert seen["linkinfo"]["info_slave_data"]["isolated"] is True
    assert (peer.kind, peer.mac, peer.mtu, peer.up) == ("veth", "0a:58:0a:58:00:02", 1400, False)


@pytest.mark.kernel
@in_netns
def test_deleting_one_end_deletes_the_other(pod):
    netns_fd, route_fd = pod
    with NetlinkSocket() as host:
        host.execute(link.new_bridge("cni0", mac="02:00:00:00:00:07"))
        bridge = link.parse_link(host.query(link.get_link("cni0")))
        host.execute(
            link.new_veth(
                "veth1", "eth0", peer_netns_fd=netns_fd, master=bridge.ifindex, mac="02:00:00:00:00:08"
            )
        )
        host.execute(link.delete_link("veth1"))
        with pytest.raises(NotFound):
            host.execute(link.delete_link("veth1"))
    with NetlinkSocket(fd=route_fd) as inside, pytest.raises(NotFound):
        inside.query(link.get_link("eth0"))


@pytest.mark.kernel
@in_netns
def test_counters_are_those_ip_shows(ask, pod):
    netns_fd, route_fd = pod
    with NetlinkSocket() as host:
        host.execute(link.new_bridge("cni0", mac="02:00:00:00:00:07"))
        bridge = link.parse_link(host.query(link.get_link("cni0")))
        host.execute(
            link.new_veth(
                "veth1", "eth0", peer_netns_fd=netns_fd, master=bridge.ifindex, mac="02:00:00:00:00:08"
            )
        )
        host.execute(link.set_up(link.LOOPBACK_INDEX), link.delete_link("veth1"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x" * 100, ("127.0.0.1", 9))
        loopback = link.parse_link(host.query(link.get_link("lo"))).stats

    (seen,) = ask("ip", "-j", "-s", "link", "show", "lo")
    assert loopback.tx_bytes == seen["stats64"]["tx"]["bytes"] > 100
    assert loopback.rx_packets == seen["stats64"]["rx"]["packets"] > 0
    assert link.read_interface_stats(route_fd) == ()


@given(st.binary(max_size=200))
def test_any_body_is_a_link_or_refused(body):
    try:
        found = link.parse_link(Message(16, 0, 1, body))
    except DataLoss:
        return
    assert len(body) >= 16
    assert found.stats.name == found.name


def test_short_counters_are_refused():
    body = bytes(16) + b"\x0c\0\x17\0" + bytes(8)  # IFLA_STATS64 of 8 bytes

    with pytest.raises(DataLoss, match="counters"):
        link.parse_link(Message(16, 0, 1, body))


def test_a_queueing_discipline_cut_short_is_data_loss():
    with pytest.raises(DataLoss):
        parse_qdisc(Message(36, 0, 1, bytes(16)))
