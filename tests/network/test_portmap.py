"""Host ports by the built-in portmap: ways in, conflicts, ends."""

import ipaddress
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from rundlet.network.call import Attachment, Call
from rundlet.network.hostports import PortMapping, plan_entries, plan_keys
from rundlet.network.pod import HostPort
from rundlet.network.portmap import Portmap
from rundlet.network.ruleset import Ruleset

kernel = pytest.mark.kernel
ADDRESS = ipaddress.ip_interface("10.88.0.2/16")


@pytest.fixture
def conf(bridge_conf):
    def make(**options):
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {
            "cniVersion": "1.0.0",
            "name": "mynet",
            "plugins": [bridge_conf(**options), portmap],
        }

    return make


def dual_stack(tmp_path):
    return {
        "type": "host-local",
        "dataDir": str(tmp_path / "leases"),
        "ranges": [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }


def tables(world):
    return {
        item["table"]["name"]
        for item in world.json("", "nft", "-j", "list", "ruleset")["nftables"]
        if "table" in item
    }


def elements(world, name):
    (found,) = [
        item["map"]
        for item in world.json("", "nft", "-j", "list", "map", "inet", "rundlet-hostports", name)["nftables"]
        if "map" in item
    ]
    return found.get("elem", [])


# --- ways in ---------------------------------------------------------------


@kernel
def test_host_port_from_everywhere(world, make_pod, make_network, conf):
    outside = world.outside()
    network = make_network(conf())
    pod, neighbour = make_pod(port_mappings=(HostPort(18080, 8080),)), make_pod()
    ip = network.attach(*pod).ips[0]
    network.attach(*neighbour)

    def seen(client, target):
        return world.connect(client, pod.netns.path, ip, target=target, port=18080)

    assert seen(outside, "192.0.2.1") == "192.0.2.2"
    assert seen("", "127.0.0.1") == "10.88.0.1"
    assert seen("", "192.0.2.1") in {"192.0.2.1", "10.88.0.1"}
    for target in ("10.88.0.1", "192.0.2.1"):
        assert seen(neighbour.netns.path, target) == "10.88.0.1"
        assert seen(pod.netns.path, target) == "10.88.0.1"


@kernel
def test_neighbour_that_is_reached_directly_sees_the_source(world, make_pod, make_network, conf):
    """Only what a host port has translated is masqueraded."""
    network = make_network(conf())
    pod, neighbour = make_pod(port_mappings=(HostPort(18080, 8080),)), make_pod()
    ip = network.attach(*pod).ips[0]
    other = network.attach(*neighbour).ips[0]

    assert world.connect(neighbour.netns.path, pod.netns.path, ip) == other


@kernel
def test_host_port_over_ipv6(world, make_pod, make_network, conf, tmp_path):
    outside = world.outside()
    world.run("", "ip", "address", "add", "2001:db8::1/64", "dev", "uplink", "nodad")
    world.run(outside, "ip", "address", "add", "2001:db8::2/64", "dev", "up0", "nodad")
    network = make_network(conf(ipam=dual_stack(tmp_path)))
    pod = make_pod(port_mappings=(HostPort(18080, 8080),))
    ips = network.attach(*pod).ips
    assert ips == ("10.88.0.2", "fd00:88::2")

    def seen(client, target):
        return world.connect(client, pod.netns.path, ips[":" in target], target=target, port=18080)

    # The bridge's link-local address must be settled before it can forward.
    deadline = time.monotonic() + 3
    while "tentative" in world.run("", "ip", "-6", "address", "show", "dev", "uplink", "tentative"):
        assert time.monotonic() < deadline
    assert seen(outside, "2001:db8::1") == "2001:db8::2"
    assert seen(pod.netns.path, "fd00:88::1") == "fd00:88::1"
    assert seen("", "127.0.0.1") == "10.88.0.1"


UDP_SERVER = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind((sys.argv[1], 53))
    print("ready", flush=True)
    data, address = s.recvfrom(100)
    s.sendto(b"answer", address)
"""
UDP_CLIENT = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(3)
    s.connect((sys.argv[1], 10053))
    s.send(b"question")
    print(s.recv(100).decode())
"""


@kernel
def test_udp_and_tcp_have_their_own_ports(world, make_pod, make_network, conf, serve):
    outside = world.outside()
    network = make_network(conf())
    pod = make_pod(port_mappings=(HostPort(10053, 53, "udp"), HostPort(10053, 8080, "tcp")))
    ip = network.attach(*pod).ips[0]

    serve(pod.netns.path, UDP_SERVER, ip)
    assert world.python(outside, UDP_CLIENT, "192.0.2.1") == "answer"
    assert world.connect(outside, pod.netns.path, ip, target="192.0.2.1", port=10053) == "192.0.2.2"


UDP_STREAM = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.bind(("192.0.2.2", 5555))
    s.settimeout(0.2)
    print("ready", flush=True)
    for attempt in range(20):
        s.sendto(b"question", ("192.0.2.1", 10053))
        try:
            print(s.recv(100).decode(), flush=True)
            break
        except (TimeoutError, ConnectionError):
            print("nothing", flush=True)
"""


@kernel
def test_udp_flow_from_before_finds_the_pod(world, make_pod, make_network, conf, serve):
    """Somebody who keeps sending from one port was sent to the host for ever."""
    outside = world.outside()
    network = make_network(conf())
    pod = make_pod(port_mappings=(HostPort(10053, 53, "udp"),))
    other = make_pod(port_mappings=(HostPort(10054, 53, "udp"),))
    network.attach(*other)  # connections are tracked from here on
    stream = serve(outside, UDP_STREAM)
    assert stream.readline() == "nothing\n"
    ip = network.attach(*pod).ips[0]
    serve(pod.netns.path, UDP_SERVER, ip)

    assert "answer\n" in (stream.readline() for _ in range(10))


@kernel
def test_sctp_is_mapped(world, make_pod, make_network, conf):
    network = make_network(conf())
    pod = make_pod(port_mappings=(HostPort(18080, 8080, "sctp"),))
    network.attach(*pod)

    assert "sctp" in json.dumps(elements(world, "any4"))


@kernel
def test_mapping_of_one_address_leaves_the_others_alone(world, make_pod, make_network, conf):
    outside = world.outside()
    network = make_network(conf())
    first = make_pod(port_mappings=(HostPort(18080, 8080, host_ip="192.0.2.1"),))
    second = make_pod(port_mappings=(HostPort(18080, 8080, host_ip="127.0.0.1"),))
    ip, other = network.attach(*first).ips[0], network.attach(*second).ips[0]

    assert world.connect(outside, first.netns.path, ip, target="192.0.2.1", port=18080) == "192.0.2.2"
    assert world.connect("", second.netns.path, other, target="127.0.0.1", port=18080) == "10.88.0.1"


TCP_SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], 7070)) as s:
    print("ready", flush=True)
    while True:
        s.accept()[0].close()
"""
KNOCK = """
import socket
try:
    socket.create_connection(("127.9.9.9", 7070), timeout=0.3).close()
    print("in")
except TimeoutError:
    print("out")
"""


@kernel
def test_loopback_of_the_host_is_not_opened_to_pods(world, make_pod, make_network, conf, serve):
    """route_localnet lets 127.0.0.1 out of the host; it must not let pods in (CVE-2020-8558)."""
    network = make_network(conf())
    pod = make_pod(port_mappings=(HostPort(18080, 8080),))
    network.attach(*pod)
    serve("", TCP_SERVER, "127.9.9.9")
    path = pod.netns.path
    # The pod's own kernel must send what is meant for a loopback address: its local table is asked last.
    world.run(path, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1")
    world.run(path, "ip", "route", "add", "127.9.9.9/32", "via", "10.88.0.1", "table", "100")
    world.run(path, "ip", "rule", "add", "pref", "10", "to", "127.9.9.9", "lookup", "100")
    world.run(path, "ip", "rule", "add", "pref", "20", "lookup", "local")
    world.run(path, "ip", "rule", "del", "pref", "0")

    assert world.python(path, KNOCK) == "out"
    world.run("", "nft", "flush", "chain", "inet", "rundlet-hostports", "loopback")
    assert world.python(path, KNOCK) == "in"


# --- conflicts and ends ----------------------------------------------------


@kernel
def test_taken_host_port_is_told_with_its_taker(world, make_pod, make_network, conf):
    network = make_network(conf())
    first, second = (make_pod(port_mappings=(HostPort(18080, 8080),)) for _ in range(2))
    network.attach(*first)

    with pytest.raises(AlreadyExists, match=f"host port 18080/tcp is taken by pod {first.spec.pod_id}"):
        network.attach(*second)

    assert len(elements(world, "any4")) == 1
    network.detach(second.spec, second.netns.path)
    network.check(*first)
    network.detach(first.spec, first.netns.path)
    network.attach(*second)
    network.check(*second)


@kernel
def test_parallel_pods_with_host_ports(world, make_pod, make_network, conf):
    """They share one table, each change of which is planned on what the former has left."""
    firewall = {"type": "firewall", "ingressPolicy": "same-bridge"}
    network = make_network({**conf(), "plugins": [*conf()["plugins"], firewall]})
    pods = [make_pod(port_mappings=(HostPort(18080 + n, 80),)) for n in range(8)]

    for _ in range(2):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda pod: network.attach(*pod), pods))
            assert len(elements(world, "any4")) == 8
            list(pool.map(lambda pod: network.check(*pod), pods))
            list(pool.map(lambda pod: network.detach(pod.spec, pod.netns.path), pods))
    assert tables(world) == set()


@kernel
def test_table_goes_with_the_last_host_port(world, make_pod, make_network, conf):
    network = make_network(conf())
    pods = [make_pod(port_mappings=(HostPort(18080 + n, 8080),)) for n in range(2)]
    plain = make_pod()
    for pod in (*pods, plain):
        network.attach(*pod)
    assert "rundlet-hostports" in tables(world)

    for pod in pods:
        network.detach(pod.spec, pod.netns.path)
    assert elements(world, "any4") == []
    network.detach(plain.spec, plain.netns.path)
    assert tables(world) == set()


@kernel
def test_lost_mapping_is_seen_by_check(world, make_pod, make_network, conf):
    network = make_network(conf())
    pod = make_pod(port_mappings=(HostPort(18080, 8080),))
    network.attach(*pod)
    network.check(*pod)
    world.run("", "nft", "flush", "map", "inet", "rundlet-hostports", "any4")

    with pytest.raises(FailedPrecondition, match="host port 18080/tcp does not lead"):
        network.check(*pod)


@kernel
def test_many_pods_cost_one_element_each(world, make_network, conf):
    portmap = Portmap(Ruleset())
    calls = [portmap_call(f"pod{n}", 20000 + n) for n in range(300)]
    for one in calls:
        entries = plan_entries([PortMapping(*one.conf["ports"])], [ADDRESS], one.tag)
        portmap._insert(one, entries, [ADDRESS])
    assert len(elements(world, "any4")) == 300

    valid = [{"containerID": f"pod{n}", "ifname": "eth0"} for n in range(7)]
    nobody = calls[0]._replace(conf={"cni.dev/valid-attachments": valid})
    portmap.collect(nobody)
    assert len(elements(world, "any4")) == 7
    portmap.collect(nobody._replace(conf={}))
    assert tables(world) == set()


def portmap_call(pod, port):
    conf = {"ports": (port, 80)}
    return Call("mynet", "1.0.0", "portmap", conf, Attachment(pod, "eth0"), None, None)


# --- planning --------------------------------------------------------------


def test_addresses_of_both_families_get_an_element():
    mapping = [PortMapping(8080, 80)]

    assert [entry.map for entry in plan_keys(mapping)] == ["any4", "any6"]
    assert [entry.map for entry in plan_entries(mapping, [ADDRESS], "tag")] == ["any4"]
    (entry,) = plan_keys([PortMapping(8080, 80, "udp", "fd00::1")])
    assert entry.map == "at6"
    assert entry.port == "8080/udp of fd00::1"


@pytest.mark.parametrize(
    "mapping",
    [
        PortMapping(0x10000, 80),
        PortMapping(80, 0),
        PortMapping(80, 80, "icmp"),
        PortMapping(80, 80, host_ip="here"),
    ],
)
def test_mapping_that_cannot_be(mapping):
    with pytest.raises(InvalidArgument):
        plan_keys([mapping])
