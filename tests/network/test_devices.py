"""Main plugins beside bridge: ptp, macvlan, host-device."""

import os
import subprocess

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument, Unimplemented
from rundlet.network.pod import NETWORKS_ANNOTATION, PodNetwork, plan_networks

kernel = pytest.mark.kernel


@pytest.fixture
def ipam(tmp_path):
    def make(*subnets):
        return {
            "type": "host-local",
            "dataDir": str(tmp_path / "leases"),
            "ranges": [[{"subnet": subnet}] for subnet in subnets],
            "routes": [{"dst": "::/0" if ":" in subnet else "0.0.0.0/0"} for subnet in subnets],
        }

    return make


def conf(kind, name="mynet", **options):
    return {"cniVersion": "1.0.0", "name": name, "plugins": [{"type": kind, **options}]}


def host_links(world):
    return [link["ifname"] for link in world.json("", "ip", "-j", "link")]


def leases(tmp_path, network="mynet"):
    found = (tmp_path / "leases" / network).iterdir()
    return [path.name for path in found if path.name[0].isdigit() or ":" in path.name]


# --- ptp -------------------------------------------------------------------


@kernel
def test_point_to_point(world, make_pod, make_network, ipam, tmp_path):
    outside = world.outside()
    network = make_network(conf("ptp", ipMasq=True, mtu=1400, ipam=ipam("10.1.0.0/24", "fd00:1::/64")))
    left, right = make_pod(), make_pod()
    ips = network.attach(*left).ips
    others = network.attach(*right).ips

    assert ips == ("10.1.0.2", "fd00:1::2")
    for mine, yours in zip(ips, others, strict=True):
        assert world.connect(left.netns.path, right.netns.path, yours) == mine
    assert world.connect("", left.netns.path, ips[0]) == "10.1.0.1"
    assert world.connect(left.netns.path, outside, "192.0.2.2") == "192.0.2.1"
    (eth0,) = world.json(left.netns.path, "ip", "-j", "link", "show", "dev", "eth0")
    assert eth0["mtu"] == 1400
    network.check(*left)
    world.run(left.netns.path, "ip", "address", "flush", "dev", "eth0")
    with pytest.raises(FailedPrecondition, match="has lost its address"):
        network.check(*left)

    for pod in (left, right):
        network.detach(pod.spec, pod.netns.path)
    assert host_links(world) == ["lo", "uplink"]
    assert leases(tmp_path) == []
    assert "rundlet" not in world.run("", "nft", "list", "ruleset")


@kernel
def test_point_to_point_needs_addresses(world, make_pod, make_network):
    with pytest.raises(InvalidArgument, match="needs addresses"):
        make_network(conf("ptp")).attach(*make_pod())


# --- macvlan ---------------------------------------------------------------


def need_macvlan(world):
    try:
        world.run("", "ip", "link", "add", "probe0", "link", "uplink", "type", "macvlan")
    except subprocess.CalledProcessError:
        pytest.skip("macvlan not in this kernel")
    world.run("", "ip", "link", "delete", "probe0")


@kernel
def test_macvlan_is_a_neighbour_of_the_outside(world, make_pod, make_network, ipam, tmp_path):
    outside = world.outside()
    need_macvlan(world)
    plugin = {
        "ipam": {**ipam("192.0.2.0/24"), "routes": []},
        "master": "uplink",
        "capabilities": {"mac": True},
    }
    plugin["ipam"]["ranges"][0][0]["rangeStart"] = "192.0.2.100"
    network = make_network(conf("macvlan", **plugin))
    pod = make_pod(capabilities={"mac": "02:00:00:00:00:77"})
    attached = network.attach(*pod)

    assert attached.result.interfaces[0].mac == "02:00:00:00:00:77"
    assert world.connect(outside, pod.netns.path, attached.ips[0]) == "192.0.2.2"
    network.check(*pod)
    network.detach(pod.spec, pod.netns.path)
    network.detach(pod.spec, pod.netns.path)
    assert "eth0" not in world.run(pod.netns.path, "ip", "link")
    assert leases(tmp_path) == []


@kernel
def test_macvlan_takes_the_device_of_the_default_route(world, make_pod, make_network, ipam):
    world.outside()
    need_macvlan(world)
    network = make_network(conf("macvlan", ipam=ipam("10.5.0.0/24")))
    pod = make_pod()
    assert not network.status().ready

    world.run("", "ip", "route", "add", "default", "via", "192.0.2.2")
    assert network.status().ready
    network.attach(*pod)


@kernel
def test_macvlan_without_its_master(world, make_pod, make_network, ipam, tmp_path):
    network = make_network(conf("macvlan", master="eth9", ipam=ipam("10.5.0.0/24")))

    with pytest.raises(FailedPrecondition, match="there is no interface eth9"):
        network.attach(*make_pod())
    assert not (tmp_path / "leases").exists() or leases(tmp_path) == []


# --- host-device -----------------------------------------------------------


@pytest.fixture
def device(world):
    world.run("", "ip", "link", "add", "nic0", "type", "veth", "peer", "name", "nic1")
    (seen,) = world.json("", "ip", "-j", "link", "show", "dev", "nic0")
    return seen


@kernel
@pytest.mark.parametrize("by", ["device", "hwaddr"])
def test_device_of_the_host_goes_and_comes_back(world, device, make_pod, make_network, ipam, by):
    how = {"device": "nic0"} if by == "device" else {"hwaddr": device["address"].upper()}
    tuning = {"type": "tuning", "mtu": 1300}
    conflist = conf("host-device", ipam=ipam("10.6.0.0/24"), **how)
    network = make_network({**conflist, "plugins": [*conflist["plugins"], tuning]})
    pod = make_pod()
    attached = network.attach(*pod)

    assert attached.ips == ("10.6.0.2",)
    assert attached.result.interfaces[0].mac == device["address"]
    assert "nic0" not in host_links(world)
    network.check(*pod)
    network.detach(pod.spec, pod.netns.path)
    network.detach(pod.spec, pod.netns.path)
    (seen,) = world.json("", "ip", "-j", "link", "show", "dev", "nic0")
    assert (seen["mtu"], seen.get("ifalias", "")) == (1500, "")
    network.attach(*pod)


@kernel
def test_device_that_is_not_there(world, make_pod, make_network, ipam):
    network = make_network(conf("host-device", device="nic9", ipam=ipam("10.6.0.0/24")))

    with pytest.raises(FailedPrecondition, match="this host has no interface nic9"):
        network.attach(*make_pod())


@kernel
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, InvalidArgument),
        ({"kernelpath": "/sys/devices/../../etc"}, InvalidArgument),
        ({"pciBusID": "../../x"}, InvalidArgument),
        ({"pciBusID": "0000:ff:1f.7"}, FailedPrecondition),
    ],
)
def test_device_that_cannot_be_named(world, make_pod, make_network, options, error):
    with pytest.raises(error, match="plugin host-device"):
        make_network(conf("host-device", **options)).attach(*make_pod())


@kernel
def test_unsupported_options_are_refused(world, make_pod, make_network, ipam):
    for kind, options in (("macvlan", {"linkInContainer": True}), ("ptp", {"ipMasqBackend": "iptables"})):
        network = make_network(conf(kind, ipam=ipam("10.7.0.0/24"), **options))
        with pytest.raises(Unimplemented, match=kind):
            network.attach(*make_pod())


# --- several networks ------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        ("storage", [("storage", "net1")]),
        ("a, kube-system/b@fast0 ,c", [("a", "net1"), ("b", "fast0"), ("c", "net3")]),
    ],
)
def test_annotation_of_further_networks(text, wanted):
    pod = PodNetwork("id", "pod", "default", "uid", annotations={NETWORKS_ANNOTATION: text})

    assert plan_networks(pod) == wanted


@pytest.mark.parametrize("text", ['[{"name": "a"}]', "a@waytoolonganinterface", "a@eth0", "a@x,b@x", "a b"])
def test_annotation_that_is_not_understood(text):
    with pytest.raises(InvalidArgument):
        plan_networks(PodNetwork("id", "pod", "default", "uid", annotations={NETWORKS_ANNOTATION: text}))


@kernel
def test_pod_on_several_networks(world, make_pod, make_network, bridge_conf, ipam, tmp_path):
    make_network(
        conf("ptp", name="side", ipam={**ipam("10.9.0.0/24"), "routes": []}), file="20-side.conflist"
    )
    network = make_network(bridge_conf())
    make_network(conf("macvlan", name="other", master="cni0"), file="30-other.conflist")
    pod = make_pod(networks=("side@side0",), annotations={NETWORKS_ANNOTATION: "other"})
    attached = network.attach(*pod)

    assert attached.ips == ("10.88.0.2",)
    assert [[ip.address for ip in result.ips] for result in attached.others] == [["10.9.0.2/24"], []]
    seen = {link["ifname"] for link in world.json(pod.netns.path, "ip", "-j", "link")}
    assert seen == {"lo", "eth0", "side0", "net2"}
    network.check(*pod)
    network.detach(pod.spec, pod.netns.path)
    assert host_links(world) == ["lo"]
    assert leases(tmp_path) == leases(tmp_path, "side") == []
    assert os.listdir(tmp_path / "cache" / "results") == []


@kernel
def test_failure_on_a_further_network_undoes_the_first(
    world, make_pod, make_network, bridge_conf, ipam, tmp_path
):
    make_network(conf("macvlan", name="side", master="eth9"), file="20-side.conflist")
    network = make_network(bridge_conf())

    with pytest.raises(FailedPrecondition, match="eth9"):
        network.attach(*make_pod(networks=("side",)))
    assert host_links(world) == ["lo"]
    assert leases(tmp_path) == []
