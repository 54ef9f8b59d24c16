"""Plugins further down the chain: firewall, bandwidth, tuning."""

import json
import time

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unimplemented
from rundlet.netlink import traffic
from rundlet.netlink.link import get_link, new_ifb, parse_link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.network import tuning
from rundlet.network.bandwidth import plan_bucket
from rundlet.network.call import Attachment, Call
from rundlet.network.pod import HostPort, parse_quantity, plan_capabilities
from rundlet.network.tuning import plan_sysctls
from rundlet.spec.cni import parse_network_conf

kernel = pytest.mark.kernel


@pytest.fixture
def chain(bridge_conf):
    def make(*plugins, name="mynet", **options):
        bridge = bridge_conf(**options)
        return {"cniVersion": "1.0.0", "name": name, "plugins": [bridge, *plugins]}

    return make


def reaches(world, client, server, ip, *, patience_s=5.0):
    """A busy machine may take a while to answer; for silence a short wait is enough."""
    code = f"""
import socket
try:
    socket.create_connection(({ip!r}, 7070), timeout={patience_s}).close()
    print("yes")
except TimeoutError:
    print("no")
"""
    return world.python(client, code) == "yes"


LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 7070)) as s:
    print("ready", flush=True)
    while True:
        s.accept()[0].close()
"""


# --- firewall --------------------------------------------------------------


def two_networks(make_network, chain, tmp_path, policy):
    """Two bridges, two pods on the first, one on the second."""
    found = []
    for number in (1, 2):
        ipam = {"type": "host-local", "subnet": f"10.{number}.0.0/24", "dataDir": str(tmp_path / "leases")}
        ipam["routes"] = [{"dst": "0.0.0.0/0"}]
        conf = chain(
            {"type": "firewall", "ingressPolicy": policy},
            name=f"net{number}", bridge=f"cni{number}", ipam=ipam, ipMasq=False,
        )  # fmt: skip
        found.append(make_network(conf, directory=f"net{number}.d"))
    return found


@kernel
@pytest.mark.parametrize(
    ("policy", "neighbour", "stranger"),
    [("open", True, True), ("same-bridge", True, False), ("isolated", False, False)],
)
def test_ingress_policy(world, make_pod, make_network, chain, tmp_path, serve, policy, neighbour, stranger):
    first, second = two_networks(make_network, chain, tmp_path, policy)
    server, near, far = make_pod(), make_pod(), make_pod()
    ip = first.attach(*server).ips[0]
    first.attach(*near)
    second.attach(*far)
    serve(server.netns.path, LISTEN, ip)

    assert (
        reaches(world, near.netns.path, server.netns.path, ip, patience_s=5.0 if neighbour else 0.3)
        is neighbour
    )
    assert (
        reaches(world, far.netns.path, server.netns.path, ip, patience_s=5.0 if stranger else 0.3) is stranger
    )
    assert reaches(world, "", server.netns.path, ip)
    first.check(*server)

    for network, pod in ((first, server), (first, near), (second, far)):
        network.detach(pod.spec, pod.netns.path)
    assert "rundlet" not in world.run("", "nft", "list", "ruleset")


@kernel
def test_pods_pass_a_host_firewall_that_forwards_nothing(world, make_pod, make_network, chain):
    outside = world.outside()
    world.run("", "nft", "add table ip filter")
    world.run("", "nft", "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }")
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    network = make_network(chain(portmap, {"type": "firewall"}))
    pod = make_pod(port_mappings=(HostPort(18080, 8080),))
    ip = network.attach(*pod).ips[0]

    assert world.connect(pod.netns.path, outside, "192.0.2.2") == "192.0.2.1"
    assert world.connect(outside, pod.netns.path, ip, target="192.0.2.1", port=18080) == "192.0.2.2"
    network.check(*pod)
    network.detach(pod.spec, pod.netns.path)
    assert "rundlet" not in world.run("", "nft", "list", "ruleset")


# --- bandwidth -------------------------------------------------------------

RATES = {"type": "bandwidth", "capabilities": {"bandwidth": True}}

SINK = """
import socket, sys
with socket.create_server((sys.argv[1], 8080)) as s:
    print("ready", flush=True)
    while True:
        c, _ = s.accept()
        while c.recv(1 << 16):
            pass
        c.sendall(b"done")
        c.close()
"""
PUMP = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 8080), timeout=4) as c:
    begin = time.monotonic()
    c.sendall(bytes(1 << 20))
    c.shutdown(socket.SHUT_WR)
    c.recv(100)
    print(time.monotonic() - begin)
"""


@kernel
def test_rates_hold(world, make_pod, make_network, chain, serve):
    """1 MiB at 16 Mbit/s takes half a second, less the burst."""
    network = make_network(chain(RATES))
    rates = {
        "ingressRate": 16_000_000,
        "ingressBurst": 800_000,
        "egressRate": 16_000_000,
        "egressBurst": 800_000,
    }
    pod = make_pod(capabilities={"bandwidth": rates})
    ip = network.attach(*pod).ips[0]
    network.check(*pod)
    serve(pod.netns.path, SINK, ip)
    serve("", SINK, "10.88.0.1")

    assert 0.3 < float(world.python("", PUMP, ip)) < 2
    assert 0.3 < float(world.python(pod.netns.path, PUMP, "10.88.0.1")) < 2

    network.detach(pod.spec, pod.netns.path)
    assert [link["ifname"] for link in world.json("", "ip", "-j", "link")] == ["lo"]


@kernel
def test_rates_by_annotation(world, make_pod, make_network, chain):
    network = make_network(chain(RATES))
    pod = make_pod(annotations={"kubernetes.io/ingress-bandwidth": "8M"})
    network.attach(*pod)

    (bucket,) = [one for one in world.json("", "tc", "-j", "qdisc") if one["kind"] == "tbf"]
    assert bucket["options"]["rate"] == 1_000_000
    network.check(*pod)
    world.run("", "tc", "qdisc", "del", "dev", bucket["dev"], "root")
    with pytest.raises(FailedPrecondition, match="has lost its rate"):
        network.check(*pod)


@kernel
def test_token_bucket_is_the_one_that_tc_shows(world):
    with NetlinkSocket() as host:
        host.execute(new_ifb("ifb7", mtu=1500))
        index = parse_link(host.query(get_link("ifb7"))).ifindex
        host.execute(plan_bucket(index, 80_000_000, 800_000))
        assert (index, "tbf") in set(map(traffic.parse_qdisc, host.dump(traffic.list_qdiscs())))

    (bucket,) = [one for one in world.json("", "tc", "-j", "qdisc") if one["kind"] == "tbf"]
    assert bucket["options"] == {"rate": 10_000_000, "burst": 100_000, "lat": 25000} | {
        key: bucket["options"][key] for key in ("lat",)
    }


@pytest.mark.parametrize(
    ("text", "number"), [("10M", 10_000_000), ("512Ki", 524_288), ("7", 7), ("1.5k", 1500), ("1G", 10**9)]
)
def test_quantities(text, number):
    assert parse_quantity(text, "rate") == number


def test_quantity_that_is_none(make_spec):
    with pytest.raises(InvalidArgument, match="kubernetes.io/egress-bandwidth"):
        plan_capabilities(NETWORK, make_spec(annotations={"kubernetes.io/egress-bandwidth": "fast"}))


NETWORK = parse_network_conf(b'{"cniVersion": "1.0.0", "name": "a", "type": "bridge"}')


# --- tuning ----------------------------------------------------------------


@kernel
def test_tuned_interface(world, make_pod, make_network, chain, tmp_path):
    settings = {
        "type": "tuning",
        "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "300"},
        "mac": "02:11:22:33:44:55",
        "mtu": 1400,
        "promisc": True,
        "allmulti": True,
        "txQLen": 77,
        "dataDir": str(tmp_path / "tuning"),
    }
    network = make_network(chain(settings))
    pod = make_pod()
    interface = network.attach(*pod).result.interfaces[2]

    assert (interface.mac, interface.mtu) == ("02:11:22:33:44:55", 1400)
    (seen,) = world.json(pod.netns.path, "ip", "-j", "-d", "link", "show", "dev", "eth0")
    assert (seen["address"], seen["mtu"], seen["txqlen"]) == ("02:11:22:33:44:55", 1400, 77)
    assert (seen["promiscuity"], seen["allmulti"]) == (1, 1) or {"PROMISC", "ALLMULTI"} <= set(seen["flags"])
    assert world.run(pod.netns.path, "sysctl", "-n", "net.core.somaxconn") == "300"
    assert world.run(pod.netns.path, "sysctl", "-n", "net.ipv4.conf.eth0.arp_filter") == "1"
    assert world.run("", "sysctl", "-n", "net.core.somaxconn") != "300"
    network.check(*pod)
    world.run(pod.netns.path, "sysctl", "-qw", "net.core.somaxconn=301")
    with pytest.raises(FailedPrecondition, match="somaxconn"):
        network.check(*pod)
    world.run(pod.netns.path, "sysctl", "-qw", "net.core.somaxconn=300")
    world.run(pod.netns.path, "ip", "link", "set", "eth0", "mtu", "1300")
    with pytest.raises(FailedPrecondition, match="MTU"):
        network.check(*pod)

    network.detach(pod.spec, pod.netns.path)
    assert list((tmp_path / "tuning").iterdir()) == []


def tuning_call(**conf):
    return Call("a", "1.0.0", "tuning", conf, Attachment("pod", "eth0"), None, None)


@pytest.mark.parametrize(
    "name", ["kernel.hostname", "net/../kernel/hostname", "net/ipv4/../../kernel/x", "net", "vm.overcommit"]
)
def test_only_the_networks_settings_are_tuned(name):
    with pytest.raises(InvalidArgument, match="not a setting of the network namespace"):
        plan_sysctls(tuning_call(), {name: "1"})


def test_dots_of_an_interface_name():
    assert plan_sysctls(tuning_call(), {"net/ipv4/conf/eth0.5/arp_filter": "1"}) == {
        "net/ipv4/conf/eth0.5/arp_filter": "1"
    }


def test_allowlist_of_the_administrator(tmp_path, monkeypatch):
    path = tmp_path / "allowlist.conf"
    path.write_text("^net\\.ipv4\\.\n\n")
    monkeypatch.setattr(tuning, "ALLOWLIST", str(path))

    assert plan_sysctls(tuning_call(), {"net.ipv4.ip_forward": "1"})
    with pytest.raises(PermissionDenied, match="net.core.somaxconn"):
        plan_sysctls(tuning_call(), {"net.core.somaxconn": "1"})


# --- refusals --------------------------------------------------------------


@kernel
@pytest.mark.parametrize(
    ("plugin", "error"),
    [
        ({"type": "firewall", "backend": "firewalld"}, Unimplemented),
        ({"type": "firewall", "ingressPolicy": "closed"}, InvalidArgument),
        ({"type": "bandwidth", "ingressRate": 100}, InvalidArgument),
        ({"type": "bandwidth", "unshapedSubnets": ["10.0.0.0/8"]}, Unimplemented),
        ({"type": "tuning", "mac": "here"}, InvalidArgument),
        ({"type": "portmap", "backend": "iptables"}, Unimplemented),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value.__name__,
)
def test_refused_configuration_leaves_nothing(world, make_pod, make_network, chain, plugin, error):
    network = make_network(chain(plugin))
    pod = make_pod()
    began = time.monotonic()

    with pytest.raises(error, match=f"plugin {plugin['type']}"):
        network.attach(*pod)
    assert not network.status().ready
    assert [link["ifname"] for link in world.json("", "ip", "-j", "link")] == ["lo"]
    assert time.monotonic() - began < 3
