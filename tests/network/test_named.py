import json
import socket

import pytest

from rundlet.errors import AlreadyExists, InvalidArgument, NotFound
from rundlet.network.named import DEFAULT_NETWORK, NamedNetworks, bridge_network
from rundlet.network.network import Network, NetworkSettings
from rundlet.network.pod import HostPort, Membership, plan_memberships, without_default_route

kernel = pytest.mark.kernel


@pytest.fixture
def named(tmp_path):
    """Two networks by name beside a node's own; answers the directory."""
    directory = tmp_path / "networks"
    directory.mkdir()
    for number, name in enumerate(("blue", "green")):
        conf = bridge_network(
            name, f"br-{name}", [{"subnet": f"10.9{number}.0.0/24"}], str(tmp_path / "leases")
        )
        (directory / f"{name}.conflist").write_text(json.dumps(conf))
    return directory


@pytest.fixture
def network(tmp_path, named):
    return Network(
        NetworkSettings(str(tmp_path / "net.d"), (), cache_dir=str(tmp_path / "cache"), named_dir=str(named))
    )


def test_default_network_is_there_without_a_file(tmp_path):
    networks = NamedNetworks(str(tmp_path / "missing"), "/nowhere")

    assert networks.names() == [DEFAULT_NETWORK]
    assert networks.find(DEFAULT_NETWORK).plugins[0].raw["bridge"] == "rundlet0"


def test_file_takes_the_place_of_the_default_network(tmp_path):
    conf = bridge_network(DEFAULT_NETWORK, "other0", [{"subnet": "10.99.0.0/24"}], "/nowhere")
    (tmp_path / "rundlet.conflist").write_text(json.dumps(conf))

    assert NamedNetworks(str(tmp_path), "/nowhere").find(DEFAULT_NETWORK).plugins[0].raw["bridge"] == "other0"


def test_unknown_network_is_named_with_those_that_are_there(named):
    with pytest.raises(NotFound, match="no network red") as caught:
        NamedNetworks(str(named), "/nowhere").find("red")
    assert "rundlet, blue, green" in caught.value.hint


def test_fault_of_a_networks_file_is_told_when_it_is_asked_for(named):
    (named / "red.conflist").write_text("{")
    with pytest.raises(NotFound, match=r"no network red: .*red\.conflist"):
        NamedNetworks(str(named), "/nowhere").find("red")


def test_further_network_has_no_default_route(named):
    network = without_default_route(NamedNetworks(str(named), "/nowhere").find("blue"))
    assert network.plugins[0].raw["ipam"]["routes"] == []


def test_internal_network_leads_nowhere():
    conf = bridge_network("quiet", "br0", [{"subnet": "10.99.0.0/24"}], "/nowhere", internal=True)
    bridge = conf["plugins"][0]
    assert (bridge["ipMasq"], bridge["isGateway"], "routes" in bridge["ipam"]) == (False, False, False)


@pytest.mark.parametrize(
    ("only", "what"),
    [
        ((Membership("blue"), Membership("blue")), "network"),
        ((Membership("blue"), Membership("green", "eth0")), "interface"),
    ],
)
def test_one_thing_asked_for_twice_is_refused(named, make_spec, only, what):
    with pytest.raises(InvalidArgument, match=f"one {what} is asked for twice"):
        plan_memberships(make_spec(only=only), NamedNetworks(str(named), "/nowhere").find)


@kernel
def test_pod_is_on_the_networks_that_it_names_and_no_other(world, make_pod, network, bridge_conf, tmp_path):
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d" / "10-node.conf").write_text(json.dumps(bridge_conf()))
    asked = Membership("blue", capabilities={"ips": ["10.90.0.77"], "mac": "02:00:00:00:00:77"})
    pod = make_pod(only=(asked, Membership("green")))

    attached = network.attach(*pod)

    assert attached.ips == ("10.90.0.77",)
    first, second = network.links(pod.spec.pod_id)
    assert (first.network, first.ifname, first.ips, first.mac) == (
        "blue",
        "eth0",
        ("10.90.0.77",),
        "02:00:00:00:00:77",
    )
    assert (second.network, second.ifname, second.ips) == ("green", "eth1", ("10.91.0.2",))
    routes = world.json(pod.netns.path, "ip", "-j", "route", "show", "default")
    assert [(route["gateway"], route["dev"]) for route in routes] == [("10.90.0.1", "eth0")]
    assert set(network.members("green")) == {pod.spec.pod_id}

    network.detach(pod.spec, pod.netns.path)

    assert network.links(pod.spec.pod_id) == []
    assert {link["ifname"] for link in world.json("", "ip", "-j", "link")} == {"lo"}


@kernel
def test_address_that_somebody_has_is_refused_and_leaves_nothing(world, make_pod, network):
    asked = (Membership("blue", capabilities={"ips": ["10.90.0.77"]}),)
    first, second = make_pod(only=asked), make_pod(only=asked)
    network.attach(*first)

    with pytest.raises(AlreadyExists, match=r"10\.90\.0\.77"):
        network.attach(*second)

    assert set(network.members("blue")) == {first.spec.pod_id}
    network.detach(first.spec, first.netns.path)


@kernel
def test_default_network_carries_both_families_and_host_ports(world, make_pod, network):
    if not socket.has_ipv6:
        pytest.skip("IPv6 not on this host")
    outside = world.outside()
    pod = make_pod(only=(Membership(DEFAULT_NETWORK),), port_mappings=(HostPort(18080, 8080),))

    attached = network.attach(*pod)

    assert [ip.rpartition(".")[0] for ip in attached.ips if "." in ip] == ["10.86.0"]
    own = next(ip for ip in attached.ips if "." in ip)
    seen = world.connect(outside, pod.netns.path, own, target="192.0.2.1", port=18080)
    assert seen == "192.0.2.2"
    network.detach(pod.spec, pod.netns.path)


@kernel
def test_host_that_heeds_router_advertisements_goes_on_to(world, make_pod, network, tmp_path):
    world.outside()
    setting = "/proc/sys/net/ipv6/conf/uplink/accept_ra"
    with open(setting, encoding="ascii") as file:
        if file.read() != "1\n":
            pytest.skip("interfaces heed no router advertisements here")
    pod = make_pod(only=(Membership(DEFAULT_NETWORK),))

    network.attach(*pod)

    with open(setting, encoding="ascii") as file:
        assert file.read() == "2\n"
    network.detach(pod.spec, pod.netns.path)
