"""GC: what dead pods have left goes, what live pods have stays; STATUS beside it."""

import json
import os
import random
import signal
import stat
import time

import pytest

from rundlet.network.network import Network
from rundlet.network.pod import HostPort

kernel = pytest.mark.kernel


@pytest.fixture
def conf(bridge_conf, tmp_path):
    """Every plugin that leaves something on the host."""
    rates = {"ingressRate": 10**9, "ingressBurst": 10**8, "egressRate": 10**9, "egressBurst": 10**8}
    return {
        "cniVersion": "1.1.0",
        "name": "mynet",
        "plugins": [
            bridge_conf(),
            {"type": "portmap", "capabilities": {"portMappings": True}},
            {"type": "firewall", "ingressPolicy": "same-bridge"},
            {"type": "tuning", "mtu": 1400, "dataDir": str(tmp_path / "tuning")},
            {"type": "bandwidth", **rates},
        ],
    }


@pytest.fixture
def left(world, tmp_path):
    """What is there: (interfaces but lo, leases, cached results, backups, nftables)."""

    def look():
        links = [link["ifname"] for link in world.json("", "ip", "-j", "link")]
        directories = (tmp_path / "leases" / "mynet", tmp_path / "cache" / "results", tmp_path / "tuning")
        leases, results, backups = (
            [path.name for path in one.iterdir() if not path.name.startswith(("lock", "last", ".new"))]
            if one.exists()
            else []
            for one in directories
        )
        return links[1:], leases, results, backups, world.run("", "nft", "list", "ruleset")

    return look


NOTHING = ([], [], [], [], "")


def forget(tmp_path, pod):
    """As if the cache had been lost."""
    for path in (tmp_path / "cache" / "results").iterdir():
        if pod.spec.pod_id in path.name:
            path.unlink()


@kernel
@pytest.mark.parametrize("cached", [True, False], ids=["by-the-cache", "by-what-there-is"])
def test_leftovers_of_dead_pods_go(world, make_pod, make_network, conf, left, tmp_path, cached):
    before = make_network(conf)
    pods = [make_pod(port_mappings=(HostPort(18080 + n, 80),)) for n in range(3)]
    for pod in pods:
        before.attach(*pod)
    alive = pods[1]
    if not cached:
        for pod in (pods[0], pods[2]):
            forget(tmp_path, pod)
    network = make_network(conf)

    assert network.collect(lambda: [alive.spec.pod_id]) == []

    links, leases, results, backups, ruleset = left()
    assert (len(links), leases, len(results), len(backups)) == (3, ["10.88.0.3"], 1, 1)
    assert "18081" in ruleset
    assert "18080" not in ruleset
    network.check(*alive)
    assert network.collect(list) == []
    assert left() == NOTHING


@kernel
def test_point_to_point_leftovers_go(world, make_pod, make_network, bridge_conf, left, tmp_path):
    ipam = bridge_conf()["ipam"]
    ptp = {"cniVersion": "1.1.0", "name": "mynet", "type": "ptp", "ipMasq": True, "ipam": ipam}
    network = make_network(ptp)
    pods = [make_pod(), make_pod()]
    for pod in pods:
        network.attach(*pod)
    forget(tmp_path, pods[0])

    assert network.collect(lambda: [pods[1].spec.pod_id]) == []
    links, leases, *_ = left()
    assert (len(links), leases) == (1, ["10.88.0.3"])
    network.check(*pods[1])


@kernel
def test_pods_of_another_engine_stay(world, make_pod, make_network, conf, left):
    ours, theirs = make_network(conf, engine="/a"), make_network(conf, engine="/b")
    pod = make_pod()
    theirs.attach(*pod)

    assert ours.collect(list) == []
    theirs.check(*pod)
    assert theirs.collect(list) == []
    assert left() == NOTHING


@kernel
def test_damaged_note_protects_its_pod(world, make_pod, make_network, conf, left, tmp_path):
    """What cannot be read may be anybody's: it stays until somebody looks."""
    network = make_network(conf)
    pod = make_pod()
    network.attach(*pod)
    (note,) = (tmp_path / "cache" / "results").iterdir()
    whole = note.read_bytes()
    note.write_bytes(whole[:100])

    assert network.collect(list) == []
    note.write_bytes(whole)
    network.check(*pod)


@kernel
def test_network_without_gc_is_left_alone(world, make_pod, make_network, conf, left):
    network = make_network({**conf, "disableGC": True})
    pod = make_pod()
    network.attach(*pod)

    assert network.collect(list) == []
    network.check(*pod)


@kernel
def test_pod_of_a_network_that_is_no_longer_configured(world, make_pod, make_network, conf, left):
    make_network(conf).attach(*make_pod())

    assert make_network({**conf, "name": "new"}).collect(list) == []
    assert left() == NOTHING


# --- programs --------------------------------------------------------------

SCRIPT = """#!/bin/sh
cat > {log}/$CNI_COMMAND
[ "$CNI_COMMAND" = VERSION ] && echo '{{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}}'
[ "$CNI_COMMAND" = ADD ] && echo '{{"cniVersion": "1.1.0"}}'
{extra}
exit 0
"""


@pytest.fixture
def program(tmp_path):
    def make(extra=""):
        log = tmp_path / "log"
        log.mkdir(exist_ok=True)
        path = tmp_path / "bin" / "custom"
        path.parent.mkdir(exist_ok=True)
        path.write_text(SCRIPT.format(log=log, extra=extra))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return log

    return make


@kernel
@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_programs_are_asked_since_1_1(world, make_pod, make_network, program, tmp_path, version):
    log = program()
    conf = {"cniVersion": version, "name": "mynet", "plugins": [{"type": "custom", "x": 1}]}
    network = make_network(conf, bin_dirs=(str(tmp_path / "bin"),))
    pod = make_pod()
    network.attach(*pod)

    assert network.collect(lambda: [pod.spec.pod_id]) == []
    assert network.status().ready
    if version == "1.0.0":
        assert not (log / "GC").exists()
        assert not (log / "STATUS").exists()
        return
    assert json.loads((log / "GC").read_text()) == {
        "type": "custom",
        "x": 1,
        "name": "mynet",
        "cniVersion": "1.1.0",
        "cni.dev/valid-attachments": [{"containerID": pod.spec.pod_id, "ifname": "eth0"}],
    }
    assert (log / "STATUS").exists()


def test_status_is_the_plugins_own(make_network, program, tmp_path):
    program('[ "$CNI_COMMAND" = STATUS ] && echo \'{"code": 50, "msg": "the daemon sleeps"}\' && exit 1')
    conf = {"cniVersion": "1.1.0", "name": "mynet", "plugins": [{"type": "custom"}]}

    status = make_network(conf, bin_dirs=(str(tmp_path / "bin"),)).status()

    assert not status.ready
    assert "the daemon sleeps (CNI error 50)" in status.message


@kernel
def test_failed_gc_is_told_and_does_not_stop_the_rest(
    world, make_pod, make_network, program, tmp_path, conf, left
):
    program('[ "$CNI_COMMAND" = GC ] && exit 1')
    plugins = [*conf["plugins"], {"type": "custom"}]
    network = make_network({**conf, "plugins": plugins}, bin_dirs=(str(tmp_path / "bin"),))
    network.attach(*make_pod())

    (error,) = network.collect(list)
    assert "plugin custom: GC" in error.message
    assert left() == NOTHING


def test_program_that_does_not_know_the_version(make_network, program, tmp_path):
    program()
    conf = {"cniVersion": "0.4.0", "name": "mynet", "plugins": [{"type": "custom"}]}

    status = make_network(conf, bin_dirs=(str(tmp_path / "bin"),)).status()

    assert "does not know version 0.4.0" in status.message


# --- what goes in the background -------------------------------------------


@kernel
def test_last_pod_need_not_wait_for_the_bridge(world, make_pod, make_network, conf, left):
    """The bridge goes behind the last pod's back, and whoever comes meanwhile finds or makes it."""
    network = make_network(conf)
    pod, other = make_pod(), make_pod()
    for _ in range(8):
        network.attach(*pod)
        network.detach(pod.spec, pod.netns.path, settle=False)
        network.attach(*other)
        network.check(*other)
        network.detach(other.spec, other.netns.path, settle=False)
    network.settle()

    assert left() == NOTHING


# --- crashes ---------------------------------------------------------------


@kernel
def test_killed_at_any_point_leaves_nothing_after_gc(world, make_pod, make_network, conf, left):
    """A process is killed somewhere in attach or detach; GC by another leaves a clean host."""
    dice = random.Random(4)
    pod = make_pod(port_mappings=(HostPort(18080, 80),))
    for _ in range(25):
        child = os.fork()
        if child == 0:
            busy(make_network(conf), pod)
        time.sleep(dice.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        network = make_network(conf)
        assert network.collect(list) == []
        assert left() == NOTHING
    network.attach(*pod)
    network.check(*pod)


def busy(network: Network, pod):
    try:
        while True:
            network.attach(*pod)
            network.detach(pod.spec, pod.netns.path)
    finally:
        os._exit(1)
