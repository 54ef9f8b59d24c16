"""Containers that are put on networks and taken off them, while they run and while they do not."""

import json

import pytest

from tests.cli.local.test_verbs import IMAGE, host, image_archive

__all__ = ["host", "image_archive"]
pytestmark = pytest.mark.kernel


@pytest.fixture
def nets(host):
    for name, subnet in (("front", "10.91.1.0/24"), ("back", "10.91.2.0/24")):
        assert host.rundlet("network", "create", "--subnet", subnet, name).returncode == 0
    yield host
    host.rundlet("rm", "-f", "--all")
    host.rundlet("network", "rm", "-f", "front", "back")


def begin(host, name, *words):
    done = host.rundlet("run", "-d", "--name", name, *words, IMAGE, "sleep", "600")
    assert done.returncode == 0, done.stderr


def addresses(host, name):
    """By network, as inspect has them."""
    (document,) = json.loads(host.rundlet("inspect", name).stdout)
    return {key: end["IPAddress"] for key, end in document["NetworkSettings"]["Networks"].items()}


def interfaces(host, name):
    shown = host.rundlet("exec", name, "busybox", "ip", "-4", "-o", "addr").stdout.split("\n")
    return {line.split()[1]: line.split()[3] for line in shown if line and "127.0.0.1" not in line}


def test_a_running_container_is_on_the_network_at_once(nets):
    begin(nets, "db", "--network", "back")
    begin(nets, "web", "--network", "front")
    done = nets.rundlet("network", "connect", "--ip", "10.91.2.77", "--alias", "shop", "back", "web")
    assert done.returncode == 0, done.stderr
    assert interfaces(nets, "web")["eth1"] == "10.91.2.77/24"
    assert addresses(nets, "web")["back"] == "10.91.2.77"
    for end in ("shop", "web"):
        assert nets.rundlet("exec", "db", "busybox", "ping", "-c1", "-W2", end).returncode == 0
    assert nets.rundlet("exec", "web", "busybox", "ping", "-c1", "-W2", "db").returncode == 0
    assert "web" in nets.rundlet("network", "inspect", "back").stdout
    again = nets.rundlet("network", "connect", "back", "web")
    assert (again.returncode, "is on network back already" in again.stderr) == (125, True)

    assert nets.rundlet("network", "disconnect", "back", "web").returncode == 0
    assert list(interfaces(nets, "web")) == ["eth0"]
    assert list(addresses(nets, "web")) == ["front"]
    assert "shop" not in nets.rundlet("exec", "db", "cat", "/etc/hosts").stdout
    assert nets.rundlet("exec", "web", "busybox", "grep", "-w", "db", "/etc/hosts").returncode == 1
    assert nets.rundlet("network", "disconnect", "back", "web").returncode == 125
    assert nets.rundlet("network", "disconnect", "--force", "back", "web").returncode == 0


def test_a_stopped_container_is_on_it_when_it_starts_and_stays(nets):
    nets.rundlet("create", "--name", "later", "--network", "front", IMAGE, "sleep", "600")
    nets.rundlet("start", "later")
    nets.rundlet("stop", "-t", "0", "later")
    assert nets.rundlet("network", "connect", "--ip", "10.91.2.9", "back", "later").returncode == 0
    for _ in range(2):
        assert nets.rundlet("start", "later").returncode == 0
        assert set(interfaces(nets, "later")) == {"eth0", "eth1"}
        assert addresses(nets, "later")["back"] == "10.91.2.9"
        nets.rundlet("stop", "-t", "0", "later")
    nets.rundlet("network", "disconnect", "front", "later")
    nets.rundlet("start", "later")
    assert interfaces(nets, "later") == {"eth0": "10.91.2.9/24"}


def test_the_last_network_can_go_and_another_come(nets):
    begin(nets, "bare", "--network", "front")
    assert nets.rundlet("network", "disconnect", "front", "bare").returncode == 0
    assert interfaces(nets, "bare") == {}
    nets.rundlet("restart", "-t", "0", "bare")
    assert interfaces(nets, "bare") == {}
    assert nets.rundlet("network", "connect", "back", "bare").returncode == 0
    assert list(interfaces(nets, "bare")) == ["eth0"]
    assert "default via 10.91.2.1" in nets.rundlet("exec", "bare", "busybox", "ip", "route").stdout


def test_addresses_belong_to_the_network_that_they_were_written_with(nets):
    begin(nets, "both", "--network", "front:ip=10.91.1.50", "--network", "back:ip=10.91.2.50,alias=store")
    assert addresses(nets, "both") == {"front": "10.91.1.50", "back": "10.91.2.50"}


def test_an_address_of_no_subnet_is_refused_and_nothing_has_changed(nets):
    begin(nets, "web", "--network", "front")
    done = nets.rundlet("network", "connect", "--ip", "192.0.2.9", "back", "web")
    assert done.returncode == 125
    assert list(addresses(nets, "web")) == ["front"]
    assert list(interfaces(nets, "web")) == ["eth0"]
    assert nets.rundlet("network", "connect", "back", "web").returncode == 0


def test_a_shared_network_is_not_connected(nets):
    begin(nets, "web", "--network", "front")
    begin(nets, "side", "--network", "container:web")
    done = nets.rundlet("network", "connect", "back", "side")
    assert (done.returncode, "shares the network" in done.stderr) == (125, True)
    begin(nets, "plain", "--network", "host")
    assert "which is no bridge" in nets.rundlet("network", "connect", "back", "plain").stderr
