import gc
import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest

from rundlet.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from rundlet.netlink.link import read_interface_stats
from rundlet.network.network import Network, NetworkSettings
from rundlet.network.pod import HostPort, PodNetns, PodNetwork

kernel = pytest.mark.kernel
PLUGINS_MISSING = "containernetworking-plugins not on this host"
BUILTIN = ("bridge", "host-local", "loopback")
HOST_PORTS = (HostPort(18080, 8080),)


def need_plugins():
    if not os.path.exists("/usr/lib/cni/bridge"):
        pytest.skip(PLUGINS_MISSING)


@pytest.fixture(params=[BUILTIN, ("host-local",), ()], ids=["builtin", "only-host-local", "programs"])
def builtin(request):
    """Our plugins, a mixture, and Debian's programs."""
    if request.param != BUILTIN:
        need_plugins()
    return request.param


def links(world, netns=""):
    return {link["ifname"] for link in world.json(netns, "ip", "-j", "link")}


def addresses(world, netns, device):
    (seen,) = world.json(netns, "ip", "-j", "address", "show", "dev", device)
    return {f"{one['local']}/{one['prefixlen']}" for one in seen["addr_info"] if one["scope"] == "global"}


def routes(world, netns, version=4):
    keys = ("dst", "gateway", "dev", "protocol", "scope", "prefsrc")
    seen = world.json(netns, "ip", "-j", f"-{version}", "route")
    return {tuple(one.get(key) for key in keys) for one in seen if not one["dst"].startswith("fe80")}


def leases(tmp_path, network="mynet"):
    directory = tmp_path / "leases" / network
    return sorted(path.name for path in directory.iterdir() if path.name[0].isdigit() or ":" in path.name)


def ruleset(world):
    return [item for item in world.json("", "nft", "-j", "list", "ruleset")["nftables"] if "rule" in item]


# --- the book's network ----------------------------------------------------


@kernel
@pytest.mark.differential
def test_pod_is_on_the_books_network(world, make_pod, make_network, bridge_conf, builtin, tmp_path):
    network = make_network(bridge_conf(), builtin=builtin)
    pod = make_pod()

    attached = network.attach(*pod)

    assert attached.ips == ("10.88.0.2",)
    assert addresses(world, pod.netns.path, "eth0") == {"10.88.0.2/16"}
    assert addresses(world, "", "cni0") == {"10.88.0.1/16"}
    assert routes(world, pod.netns.path) == {
        ("default", "10.88.0.1", "eth0", None, None, None),
        ("10.88.0.0/16", None, "eth0", "kernel", "link", "10.88.0.2"),
    }
    (loopback,) = world.json(pod.netns.path, "ip", "-j", "link", "show", "lo")
    assert "UP" in loopback["flags"]
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"
    assert leases(tmp_path) == ["10.88.0.2"]

    network.detach(pod.spec, pod.netns.path)

    assert "eth0" not in links(world, pod.netns.path)
    assert leases(tmp_path) == []


@kernel
@pytest.mark.differential
def test_packets_flow(world, make_pod, make_network, bridge_conf, builtin):
    outside = world.outside()
    network = make_network(bridge_conf(), builtin=builtin)
    left, right = make_pod(), make_pod()
    network.attach(*left)
    network.attach(*right)

    def caller_seen(client, server, listen):
        return world.connect(client, server, listen)

    assert caller_seen(left.netns.path, right.netns.path, "10.88.0.3") == "10.88.0.2"
    assert caller_seen(right.netns.path, "", "10.88.0.1") == "10.88.0.3"
    assert caller_seen("", right.netns.path, "10.88.0.3") == "10.88.0.1"
    # Outside knows no way to 10.88.0.0/16: it can answer only to the host's address.
    assert caller_seen(left.netns.path, outside, "192.0.2.2") == "192.0.2.1"


@kernel
@pytest.mark.differential
def test_host_port_reaches_the_pod(world, make_pod, make_network, bridge_conf, builtin):
    """The rig's chain: bridge, then the portmap program, which has its rules from prevResult."""
    need_plugins()
    outside = world.outside()
    bridge = bridge_conf(hairpinMode=True)
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    conf = {"cniVersion": "0.4.0", "name": "mynet", "plugins": [bridge, portmap]}
    network = make_network(conf, builtin=builtin)
    pod = make_pod(port_mappings=HOST_PORTS)
    network.attach(*pod)

    seen = world.connect(outside, pod.netns.path, "10.88.0.2", target="192.0.2.1", port=18080)
    assert seen == "192.0.2.2"
    for client, target in (("", "127.0.0.1"), (pod.netns.path, "10.88.0.1")):
        assert world.connect(client, pod.netns.path, "10.88.0.2", target=target, port=18080) == "10.88.0.1"

    network.detach(pod.spec, pod.netns.path)
    assert "18080" not in json.dumps(ruleset(world))


@kernel
def test_what_pods_shared_goes_with_the_last(world, make_pod, make_network, bridge_conf, tmp_path):
    network = make_network(bridge_conf())
    first, second = make_pod(), make_pod()
    before = links(world)
    network.attach(*first)
    network.attach(*second)
    assert len(ruleset(world)) == 1

    network.detach(first.spec, first.netns.path)
    assert "cni0" in links(world)
    assert len(ruleset(world)) == 1

    network.detach(second.spec, second.netns.path)
    assert links(world) == before
    assert ruleset(world) == []
    assert leases(tmp_path) == []
    assert os.listdir(tmp_path / "cache" / "results") == []


@kernel
def test_bridge_of_somebody_else_stays(world, make_pod, make_network, bridge_conf):
    world.run("", "ip", "link", "add", "cni0", "type", "bridge")
    network = make_network(bridge_conf())
    pod = make_pod()

    network.attach(*pod)
    network.detach(pod.spec, pod.netns.path)

    assert "cni0" in links(world)
    assert ruleset(world) == []


@kernel
def test_two_networks_share_a_bridge(world, make_pod, make_network, bridge_conf, tmp_path):
    one = make_network(bridge_conf())
    first = make_pod()
    one.attach(*first)
    two = make_network(bridge_conf(name="other"))
    second = make_pod()
    two.attach(*second)

    two.detach(first.spec, first.netns.path)

    assert "cni0" in links(world)
    assert [item["rule"]["table"] for item in ruleset(world)] == ["rundlet-other"]
    assert leases(tmp_path) == []
    assert leases(tmp_path, "other") == ["10.88.0.2"]


@kernel
def test_what_pods_shared_waits_a_while_for_the_next(world, make_pod, make_network, bridge_conf):
    """Removing a bridge and making it again takes the kernel 50 ms, which a node's only pod paid each time."""
    network = make_network(bridge_conf())
    pods = make_pod(), make_pod()
    seen = []
    for pod in pods:
        network.attach(*pod)
        seen += [link["ifindex"] for link in world.json("", "ip", "-j", "link") if link["ifname"] == "cni0"]
        network.detach(pod.spec, pod.netns.path, settle=False)
    assert len(seen) == 2
    assert len(set(seen)) == 1
    network.settle()
    assert links(world) == {"lo"}
    assert ruleset(world) == []


@kernel
def test_a_lingering_bridge_is_in_nobodys_way(world, make_pod, make_network, bridge_conf):
    """The same bridge, asked for with another subnet by what the network's configuration is now."""
    network = make_network(bridge_conf())
    first, second = make_pod(), make_pod()
    network.attach(*first)
    network.detach(first.spec, first.netns.path, settle=False)
    changed = bridge_conf()
    changed["ipam"]["subnet"] = "10.99.0.0/16"
    make_network(changed)
    assert network.attach(*second).ips == ("10.99.0.2",)
    network.detach(second.spec, second.netns.path)
    assert links(world) == {"lo"}


# --- detach ----------------------------------------------------------------


@kernel
@pytest.mark.differential
def test_detach_when_the_namespace_is_gone_in_another_process(
    world, make_pod, make_network, bridge_conf, builtin, tmp_path
):
    settings = {"builtin": builtin}
    pod = make_pod()
    make_network(bridge_conf(), **settings).attach(*pod)
    world.run("", "ip", "netns", "delete", os.path.basename(pod.netns.path))
    (tmp_path / "net.d" / "10-net.conf").unlink()

    script = (
        "from rundlet.network.network import *\nfrom rundlet.network.pod import *\n"
        f"network = Network(NetworkSettings({str(tmp_path / 'net.d')!r}, ('/usr/lib/cni',), "
        f"{str(tmp_path / 'cache')!r}, {builtin!r}))\n"
        f"pod = PodNetwork({pod.spec.pod_id!r}, 'n', 'ns', 'u')\n"
        f"network.detach(pod, {pod.netns.path!r})\n"
        f"network.detach(pod, {pod.netns.path!r})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

    assert leases(tmp_path) == []
    # The reference bridge leaves the pair to the end of the namespace, which this test still holds.
    if "bridge" in builtin:
        assert not any(name.startswith("veth") for name in links(world))


@kernel
def test_failed_delete_can_be_finished_later(world, make_pod, make_network, bridge_conf, tmp_path):
    script = tmp_path / "bin" / "stubborn"
    script.parent.mkdir()
    script.write_text(
        f'#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] && exec cat {tmp_path}/result\n[ -e {tmp_path}/ready ]\n'
    )
    script.chmod(0o755)
    (tmp_path / "result").write_text(
        '{"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.88.0.2/16"}]}'
    )
    conf = {"cniVersion": "0.4.0", "name": "mynet", "plugins": [bridge_conf(), {"type": "stubborn"}]}
    network = make_network(conf, bin_dirs=(str(script.parent),))
    pod = make_pod()
    network.attach(*pod)

    with pytest.raises(Unavailable, match="plugin stubborn: DEL: the plugin ended with code 1"):
        network.detach(pod.spec, pod.netns.path)
    # What can be undone is undone at once.
    assert leases(tmp_path) == []
    (tmp_path / "ready").touch()
    network.detach(pod.spec, pod.netns.path)

    assert links(world) == {"lo"}
    assert os.listdir(tmp_path / "cache" / "results") == []


@kernel
def test_detach_of_a_pod_that_was_never_attached(world, make_network, bridge_conf):
    network = make_network(bridge_conf())

    network.detach(PodNetwork("a" * 64, "n", "ns", "u"), "/nowhere")

    assert links(world) == {"lo"}


@kernel
def test_detach_finishes_what_a_dead_process_began(world, make_pod, make_network, bridge_conf, tmp_path):
    network = make_network(bridge_conf())
    pod = make_pod()
    network.attach(*pod)
    (entry,) = (tmp_path / "cache" / "results").iterdir()
    document = json.loads(entry.read_text())
    del document["result"]
    entry.write_text(json.dumps(document))

    network.detach(pod.spec, pod.netns.path)

    assert links(world) == {"lo"}
    assert leases(tmp_path) == []


@kernel
def test_damaged_cache_entry_does_not_stop_detach(world, make_pod, make_network, bridge_conf, tmp_path):
    network = make_network(bridge_conf())
    pod = make_pod()
    network.attach(*pod)
    (entry,) = (tmp_path / "cache" / "results").iterdir()
    entry.write_bytes(b"")

    network.detach(pod.spec, pod.netns.path)

    assert links(world) == {"lo"}
    assert leases(tmp_path) == []
    assert not entry.exists()


# --- failures leave nothing ------------------------------------------------


@kernel
@pytest.mark.parametrize("settings", [{}, {"builtin": ()}], ids=["builtin", "programs"])
def test_failed_add_is_undone(world, make_pod, make_network, bridge_conf, tmp_path, settings):
    need_plugins()
    script = tmp_path / "bin" / "refuse"
    script.parent.mkdir()
    script.write_text(
        '#!/bin/sh\n[ "$CNI_COMMAND" = ADD ] || exit 0\necho \'{"code": 7, "msg": "never"}\'\nexit 1\n'
    )
    script.chmod(0o755)
    conf = {"cniVersion": "0.4.0", "name": "mynet", "plugins": [bridge_conf(), {"type": "refuse"}]}
    network = make_network(conf, bin_dirs=("/usr/lib/cni", str(script.parent)), **settings)
    pod = make_pod()

    with pytest.raises(InvalidArgument, match="plugin refuse: ADD: never"):
        network.attach(*pod)

    assert "eth0" not in links(world, pod.netns.path)
    assert leases(tmp_path) == []
    assert os.listdir(tmp_path / "cache" / "results") == []
    if not settings:
        assert links(world) == {"lo"}


@kernel
def test_exhausted_network_leaves_nothing(world, make_pod, make_network, bridge_conf, tmp_path):
    ipam = bridge_conf()["ipam"] | {"subnet": "10.88.0.0/30"}
    network = make_network(bridge_conf(ipam=ipam))
    first, second = make_pod(), make_pod()
    network.attach(*first)

    with pytest.raises(ResourceExhausted, match=r"no address is left in 10\.88\.0\.0/30"):
        network.attach(*second)

    assert leases(tmp_path) == ["10.88.0.2"]
    assert len(os.listdir(tmp_path / "cache" / "results")) == 1


@kernel
def test_second_attach_is_refused_and_harms_nothing(world, make_pod, make_network, bridge_conf, tmp_path):
    network = make_network(bridge_conf())
    pod = make_pod()
    network.attach(*pod)

    with pytest.raises(AlreadyExists, match="attached to network mynet"):
        network.attach(*pod)

    network.check(*pod)
    assert leases(tmp_path) == ["10.88.0.2"]


@kernel
def test_conflicting_bridge_address_is_told(world, make_pod, make_network, bridge_conf):
    world.run("", "ip", "link", "add", "cni0", "type", "bridge")
    world.run("", "ip", "address", "add", "10.99.0.1/16", "dev", "cni0")
    pod = make_pod()

    with pytest.raises(FailedPrecondition, match=r"bridge cni0 has address 10\.99\.0\.1/16"):
        make_network(bridge_conf()).attach(*pod)

    make_network(bridge_conf(forceAddress=True)).attach(*pod)
    assert addresses(world, "", "cni0") == {"10.88.0.1/16"}


@kernel
def test_interface_that_is_no_bridge_is_told(world, make_pod, make_network, bridge_conf):
    world.run("", "ip", "link", "add", "cni0", "type", "veth", "peer", "name", "cni1")

    with pytest.raises(FailedPrecondition, match="cni0 is veth, not a bridge"):
        make_network(bridge_conf()).attach(*make_pod())


@kernel
def test_unsupported_option_is_refused(world, make_pod, make_network, bridge_conf, tmp_path):
    network, pod = make_network(bridge_conf(vlan=7)), make_pod()

    with pytest.raises(Unimplemented, match="network mynet: plugin bridge: option vlan"):
        network.attach(*pod)

    assert os.listdir(tmp_path / "cache" / "results") == []


@kernel
def test_wrong_configuration_leaves_nothing(world, make_pod, make_network, bridge_conf, tmp_path):
    ipam = bridge_conf()["ipam"] | {"routes": "all"}
    network, pod = make_network(bridge_conf(ipam=ipam)), make_pod()

    with pytest.raises(InvalidArgument, match="ipam.routes"):
        network.attach(*pod)

    assert os.listdir(tmp_path / "cache" / "results") == []


@kernel
def test_missing_plugin_is_found_before_anything_is_made(
    world, make_pod, make_network, bridge_conf, tmp_path
):
    conf = {"cniVersion": "0.4.0", "name": "mynet", "plugins": [bridge_conf(), {"type": "nothing"}]}

    with pytest.raises(FailedPrecondition, match="CNI plugin nothing"):
        make_network(conf).attach(*make_pod())

    assert links(world) == {"lo"}
    assert not (tmp_path / "cache").exists()


@kernel
def test_host_port_without_a_plugin_for_it(world, make_pod, make_network, bridge_conf):
    with pytest.raises(
        FailedPrecondition, match="host port 18080: network mynet has no plugin that maps ports"
    ):
        make_network(bridge_conf()).attach(*make_pod(port_mappings=HOST_PORTS))


@kernel
def test_port_mapping_without_a_host_port_asks_for_nothing(world, make_pod, make_network, bridge_conf):
    make_network(bridge_conf()).attach(*make_pod(port_mappings=(HostPort(0, 8080),)))


# --- options ---------------------------------------------------------------


@kernel
@pytest.mark.differential
def test_dual_stack(world, make_pod, make_network, bridge_conf, builtin):
    ranges = [[{"subnet": "10.88.0.0/16"}], [{"subnet": "fd00:88::/64"}]]
    ipam = {"type": "host-local", "ranges": ranges, "dataDir": bridge_conf()["ipam"]["dataDir"]}
    bridge = bridge_conf(cniVersion="0.4.0", isDefaultGateway=True, ipam=ipam)
    network = make_network(bridge, builtin=builtin)
    left, right = make_pod(), make_pod()

    assert network.attach(*left).ips == ("10.88.0.2", "fd00:88::2")
    network.attach(*right)

    assert addresses(world, left.netns.path, "eth0") == {"10.88.0.2/16", "fd00:88::2/64"}
    assert addresses(world, "", "cni0") == {"10.88.0.1/16", "fd00:88::1/64"}
    default = {route[:3] for route in routes(world, left.netns.path, 6) if route[0] == "default"}
    assert default == {("default", "fd00:88::1", "eth0")}
    assert world.connect(left.netns.path, right.netns.path, "fd00:88::3") == "fd00:88::2"
    # The reference leaves the bridge's address to duplicate address detection, a second or two.
    if "bridge" in builtin:
        assert world.connect(left.netns.path, "", "fd00:88::1") == "fd00:88::2"
    assert Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "1\n"


@kernel
def test_options_of_ports_and_links(world, make_pod, make_network, bridge_conf):
    options = {
        "mtu": 1400,
        "hairpinMode": True,
        "promiscMode": True,
        "portIsolation": True,
        "args": {"cni": {"mac": "02:00:00:00:aa:01"}},
    }
    pod = make_pod()
    attached = make_network(bridge_conf(cniVersion="1.0.0", **options)).attach(*pod)

    bridge, port, inner = attached.result.interfaces
    (seen,) = world.json("", "ip", "-j", "-d", "link", "show", port.name)
    assert (seen["mtu"], seen["master"], seen["address"]) == (1400, "cni0", port.mac)
    assert seen["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert seen["linkinfo"]["info_slave_data"]["isolated"] is True
    (seen,) = world.json("", "ip", "-j", "-d", "link", "show", "cni0")
    assert (seen["mtu"], seen["address"], "PROMISC" in seen["flags"]) == (1400, bridge.mac, True)
    (seen,) = world.json(pod.netns.path, "ip", "-j", "link", "show", "eth0")
    assert (seen["mtu"], seen["address"], inner.mac) == (1400, "02:00:00:00:aa:01", "02:00:00:00:aa:01")
    assert inner.sandbox == pod.netns.path


@kernel
def test_loopback_may_stand_in_a_chain(world, make_pod, make_network, bridge_conf):
    conf = {"cniVersion": "0.4.0", "name": "mynet", "plugins": [{"type": "loopback"}, bridge_conf()]}
    network = make_network(conf)
    pod = make_pod()

    assert network.attach(*pod).ips == ("10.88.0.2",)
    network.check(*pod)
    world.run(pod.netns.path, "ip", "link", "set", "lo", "down")

    with pytest.raises(FailedPrecondition, match="plugin loopback: lo is down"):
        network.check(*pod)


@kernel
def test_bridge_without_addresses(world, make_pod, make_network):
    conf = {"cniVersion": "0.4.0", "name": "l2", "type": "bridge", "bridge": "cni0"}
    pod = make_pod()

    assert make_network(conf).attach(*pod).ips == ()

    assert addresses(world, pod.netns.path, "eth0") == set()


@kernel
def test_ipam_that_is_a_program(world, make_pod, make_network, bridge_conf):
    need_plugins()
    ipam = {"type": "static", "addresses": [{"address": "10.77.0.5/24", "gateway": "10.77.0.1"}]}
    network = make_network(bridge_conf(cniVersion="0.4.0", ipam=ipam, isDefaultGateway=True))
    pod = make_pod()

    assert network.attach(*pod).ips == ("10.77.0.5",)
    network.check(*pod)
    network.detach(pod.spec, pod.netns.path)

    assert links(world) == {"lo"}


@kernel
def test_second_subnet_is_masqueraded_too(world, make_pod, make_network, bridge_conf):
    outside = world.outside()
    ranges = [[{"subnet": "10.88.0.0/30"}, {"subnet": "10.89.0.0/30"}]]
    ipam = bridge_conf()["ipam"] | {"ranges": ranges}
    del ipam["subnet"]
    network = make_network(bridge_conf(ipam=ipam, forceAddress=True))
    first, second = make_pod(), make_pod()
    network.attach(*first)

    assert network.attach(*second).ips == ("10.89.0.2",)

    assert len(ruleset(world)) == 2
    assert world.connect(second.netns.path, outside, "192.0.2.2") == "192.0.2.1"


# --- many at once ----------------------------------------------------------


@kernel
def test_parallel_pods(world, make_pod, make_network, bridge_conf, tmp_path):
    network = make_network(bridge_conf())
    pods = [make_pod() for _ in range(8)]
    failures, given = [], []

    def live(pod):
        try:
            for _ in range(3):
                given.append(network.attach(*pod).ips[0])
                network.check(*pod)
                network.detach(pod.spec, pod.netns.path)
        except Exception:  # noqa: BLE001 - the thread's failure is the test's
            failures.append(traceback.format_exc())

    threads = [threading.Thread(target=live, args=(pod,)) for pod in pods]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(set(given)) == 24
    assert links(world) == {"lo"}
    assert ruleset(world) == []
    assert leases(tmp_path) == []


# --- check, status, counters -----------------------------------------------


@kernel
def test_check_sees_what_is_lost(world, make_pod, make_network, bridge_conf):
    network = make_network(bridge_conf(cniVersion="0.4.0"))
    pod = make_pod()
    with pytest.raises(NotFound):
        network.check(*pod)
    network.attach(*pod)
    network.check(*pod)

    world.run(pod.netns.path, "ip", "address", "del", "10.88.0.2/16", "dev", "eth0")
    with pytest.raises(FailedPrecondition, match=r"eth0 has lost its address 10\.88\.0\.2/16"):
        network.check(*pod)

    world.run(pod.netns.path, "ip", "link", "del", "eth0")
    with pytest.raises(NotFound, match="veth"):
        network.check(*pod)


@kernel
def test_counters_of_a_pod(world, make_pod, make_network, bridge_conf):
    network = make_network(bridge_conf())
    pod = make_pod()
    network.attach(*pod)

    world.connect("", pod.netns.path, "10.88.0.2")

    (stats,) = read_interface_stats(pod.netns.route_fd)
    assert stats.name == "eth0"
    assert stats.rx_bytes > 100
    assert stats.tx_packets > 3
    assert stats.rx_errors == stats.tx_errors == 0


@kernel
def test_attach_by_path_alone(world, make_pod, make_network, bridge_conf):
    pod = make_pod()
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))

    attached = make_network(bridge_conf(ipMasq=False)).attach(pod.spec, PodNetns(pod.netns.path, -1))

    assert attached.ips == ("10.88.0.2",)
    assert set(os.listdir("/proc/self/fd")) <= before


@kernel
def test_namespace_that_is_gone_is_told(world, make_network, bridge_conf):
    with pytest.raises(Unavailable, match="cannot open network namespace /nowhere"):
        make_network(bridge_conf()).attach(PodNetwork("a" * 64, "n", "ns", "u"), PodNetns("/nowhere", -1))


@kernel
def test_path_that_is_no_namespace_is_told(world, make_network, bridge_conf, tmp_path):
    with pytest.raises(Unavailable, match="cannot enter network namespace"):
        make_network(bridge_conf()).attach(PodNetwork("a" * 64, "n", "ns", "u"), PodNetns(str(tmp_path), -1))


def test_status_without_a_configuration(tmp_path):
    status = Network(NetworkSettings(conf_dir=str(tmp_path))).status()

    assert (status.ready, status.reason) == (False, "NetworkPluginNotReady")
    assert status.message == f"no network configuration in {tmp_path}"


def test_status_tells_the_fault_of_a_configuration(tmp_path):
    (tmp_path / "10-a.conf").write_text("{")

    status = Network(NetworkSettings(conf_dir=str(tmp_path))).status()

    assert status.message.startswith(f"no valid network configuration in {tmp_path}: {tmp_path}/10-a.conf: ")


def test_status_names_a_missing_plugin(make_network, bridge_conf):
    conf = {"cniVersion": "0.4.0", "name": "a", "plugins": [bridge_conf(), {"type": "nothing"}]}

    status = make_network(conf).status()

    assert status.message == "CNI plugin nothing is not in /usr/lib/cni"


def test_status_of_a_ready_network(make_network, bridge_conf):
    assert make_network(bridge_conf()).status() == (True, "", "")


def test_attach_without_a_configuration(tmp_path):
    network = Network(NetworkSettings(conf_dir=str(tmp_path)))

    with pytest.raises(Unavailable, match="no network configuration"):
        network.attach(PodNetwork("a" * 64, "n", "ns", "u"), PodNetns("/nowhere", -1))


def test_pod_id_that_leads_out_of_the_cache_is_refused(make_network, bridge_conf):
    with pytest.raises(InvalidArgument, match="container id"):
        make_network(bridge_conf()).attach(PodNetwork("../x", "n", "ns", "u"), PodNetns("/nowhere", -1))


def test_unknown_builtin_is_refused():
    with pytest.raises(InvalidArgument, match="CNI plugin dhcp is not built in"):
        Network(NetworkSettings(builtin=("dhcp",)))
