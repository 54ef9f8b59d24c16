"""Bridges of an ordinary user: pods that reach each other, ports, and the way out."""

import json
import socket

import pytest

from tests.rootless.conftest import User
from tests.rootless.test_machine import BEGIN, END, image
from tests.rootless.test_usermode import need, read_port

__all__ = ["image"]

pytestmark = pytest.mark.kernel

NETWORK = """
from rundlet.local.networkplan import NetworkRequest
machine.networks.create(NetworkRequest(name="inner"))
on_it = replace(asked, network=NetworkChoice(names=("inner",)))
serve = ("sh", "-c", "while true; do echo served | nc -l -p 80; done")
fetch = "for i in $(seq 100); do got=$(nc web 80 < /dev/null) && [ -n \\"$got\\" ] && break; done; echo $got"
def ip(name): return machine.containers.get(name).ips[0]
"""


def test_pods_of_a_user_reach_each_other_by_address_and_name(user: User, image: str, tun: None) -> None:
    program = (
        BEGIN
        + NETWORK
        + """
machine.containers.run(replace(on_it, name="web", command=serve))
machine.containers.run(replace(on_it, name="client"))
tell(out("client", "sh", "-c", fetch))
tell(out("client", "busybox", "ping", "-c", "1", "-W", "2", ip("web"))[-2])
tell(ip("web") != ip("client"))
tell([network.name for network in machine.networks.list()])
tell(refused(machine.networks.remove, "inner")[0])
"""
        + END
        + """
machine.networks.remove("inner")
machine.engine.close()
tell(os.listdir(os.environ["XDG_RUNTIME_DIR"] + "/rundlet/network"))
"""
    )
    fetched, pinged, differ, networks, refusal, left = user.run(program, IMAGE=image)
    assert fetched == ["served"]
    assert "1 packets received" in pinged
    assert differ
    assert networks == ["rundlet", "inner"]
    assert refusal == "failed_precondition"
    assert left == []


def test_a_port_of_a_pod_on_a_bridge_leads_in_and_ends_with_it(user: User, image: str, tun: None) -> None:
    need("slirp4netns")
    program = (
        BEGIN
        + NETWORK
        + """
port = (PortMapping(80, 18081, host_ip="127.0.0.1"),)
machine.containers.run(replace(on_it, name="web", command=serve, ports=port))
tell(out("web", "cat", "/etc/resolv.conf"))
other = replace(on_it, name="other", command=serve, ports=port)
tell(refused(machine.containers.run, other)[:2])
sys.stdin.readline()
machine.containers.remove("web", force=True)
machine.containers.run(other)
tell("again")
sys.stdin.readline()
"""
    )
    process = user.start(program + END, IMAGE=image)
    assert process.stdout
    assert process.stdin
    assert process.stderr
    line = process.stdout.readline()
    assert line, process.stderr.read()
    assert json.loads(line[5:]) == ["nameserver 10.0.2.3"]
    code, message = json.loads(process.stdout.readline()[5:])
    assert (code, "18081" in message) == ("already_exists", True), message
    assert read_port(18081) == b"served\n"
    process.stdin.write("\n")
    process.stdin.flush()
    assert "again" in process.stdout.readline()
    assert read_port(18081) == b"served\n"
    _, complaint = process.communicate("\n", timeout=20)
    assert process.returncode == 0, complaint
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 18081))


def test_what_listens_on_the_host_is_reached_by_its_address(user: User, image: str, tun: None) -> None:
    """And its own 127.0.0.1 is not."""
    need("slirp4netns")
    need("ip")
    with socket.create_server(("127.0.0.1", 18082)):
        program = (
            BEGIN
            + NETWORK
            + """
name = machine.containers.run(on_it)
tell(out(name, "ip", "route")[0].split()[:2])
tell(out(name, "sh", "-c", "nc -w 2 10.0.2.2 18082 < /dev/null && echo reached || echo not"))
"""
            + END
        )
        route, reached = user.run(program, IMAGE=image)
    assert route == ["default", "via"]
    assert reached == ["not"]


def test_without_slirp4netns_pods_reach_each_other_and_ports_are_refused(user: User, image: str) -> None:
    path = user.home / "bin"
    path.mkdir()
    program = (
        BEGIN
        + NETWORK
        + """
machine.containers.run(replace(on_it, name="web", command=serve))
machine.containers.run(replace(on_it, name="client"))
tell(out("client", "sh", "-c", fetch))
tell(refused(machine.containers.run, replace(on_it, ports=(PortMapping(80, 18083),))))
"""
        + END
    )
    fetched, (code, message, hint) = user.run(program, IMAGE=image, PATH=str(path))
    assert fetched == ["served"]
    assert (code, "publish ports" in message) == ("failed_precondition", True), message
    assert "slirp4netns" in hint


def test_a_killed_slirp4netns_is_replaced_with_its_ports(user: User, image: str, tun: None) -> None:
    need("slirp4netns")
    program = (
        BEGIN
        + NETWORK
        + """
import signal
machine.containers.run(replace(on_it, name="web", command=serve, ports=(PortMapping(80, 18084),)))
place = os.environ["XDG_RUNTIME_DIR"] + "/rundlet/network/uplink/slirp.json"
pid = json.load(open(place))["pid"]
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
machine.containers.run(replace(on_it, name="next"))
tell("up")
sys.stdin.readline()
"""
    )
    process = user.start(program + END, IMAGE=image)
    assert process.stdout
    assert process.stderr
    assert "up" in (process.stdout.readline() or process.stderr.read())
    assert read_port(18084) == b"served\n"
    process.communicate("\n", timeout=20)
    assert process.returncode == 0
