"""The network of an ordinary user's pods: slirp4netns and pasta."""

import json
import shutil
import socket
import subprocess

import pytest

from tests.rootless.conftest import User
from tests.rootless.test_machine import BEGIN, END, image

__all__ = ["image"]

pytestmark = pytest.mark.kernel

SERVER = """
served = replace(asked, network=NetworkChoice(), name="web", ports=(PortMapping(80, 18080),),
    command=("sh", "-c", "while true; do echo served | nc -l -p 80; done"))
"""
PASTA = """
os.makedirs(machine.settings.engine.networks_dir)
plugin = {"type": "usermode", "program": "pasta", "capabilities": {"portMappings": True}}
with open(machine.settings.engine.networks_dir + "/byhost.conflist", "w") as file:
    json.dump({"cniVersion": "1.0.0", "name": "byhost", "plugins": [plugin]}, file)
served = replace(served, network=NetworkChoice(names=("byhost",)))
"""


def read_port(port: int) -> bytes:
    """What the pod's server says; it may not listen yet, and then the connection just ends."""
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            answer = sock.recv(100)
        if answer:
            return answer
    return b""


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} not on this host")


def test_a_published_port_leads_into_the_pod_and_ends_with_it(user: User, image: str, tun: None) -> None:
    need("slirp4netns")
    program = (
        BEGIN
        + SERVER
        + "machine.containers.run(served); tell(out('web', 'cat', '/etc/resolv.conf')); tell(out('web', 'ip', 'addr'))"
    )
    process = user.start(f"{program}; sys.stdin.read()\n{END}", IMAGE=image)
    assert process.stdout
    resolv_conf = json.loads(process.stdout.readline()[5:])
    assert resolv_conf == ["nameserver 10.0.2.3"]
    assert any("inet 10.0.2.100/24" in line for line in json.loads(process.stdout.readline()[5:]))
    assert read_port(18080) == b"served\n"
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 0, complaint
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 18080))
    assert list((user.home / "run/rundlet").glob("network/*")) == []


def test_a_port_in_use_is_told_and_nothing_is_left(user: User, image: str, tun: None) -> None:
    need("slirp4netns")
    with socket.create_server(("0.0.0.0", 18080)):
        program = BEGIN + SERVER + "tell(refused(machine.containers.run, served))" + END
        [(code, message, _)] = user.run(program, IMAGE=image)
    assert (code, "18080" in message) == ("already_exists", True), message
    assert list((user.home / "run/rundlet").glob("network/*")) == []


def test_a_tun_device_that_is_closed_is_told_with_a_hint(user: User, image: str) -> None:
    need("slirp4netns")
    program = BEGIN + SERVER + "tell(refused(machine.containers.run, served))" + END
    [(code, _, hint)] = user.run(program, IMAGE=image)
    assert (code, "/dev/net/tun" in hint) == ("unavailable", True)


def test_without_a_program_a_pod_has_a_loopback_and_ports_are_refused(user: User, image: str) -> None:
    path = user.home / "bin"
    path.mkdir()
    program = (
        BEGIN
        + SERVER
        + """
name = machine.containers.run(replace(served, ports=(), name="alone"))
tell(sorted(out(name, "ls", "/sys/class/net")))
tell(refused(machine.containers.run, served))
"""
        + END
    )
    names, (code, message, hint) = user.run(program, IMAGE=image, PATH=str(path))
    assert names == ["lo"]
    assert (code, "publish ports" in message) == ("failed_precondition", True), message
    assert "slirp4netns" in hint


def test_an_interface_of_the_host_is_refused_in_a_clear_word(user: User, image: str) -> None:
    program = (
        BEGIN
        + """
os.makedirs(machine.settings.engine.networks_dir)
with open(machine.settings.engine.networks_dir + "/mine.conflist", "w") as file:
    json.dump({"cniVersion": "1.0.0", "name": "mine", "plugins": [{"type": "macvlan"}]}, file)
tell(refused(machine.containers.run, replace(asked, network=NetworkChoice(names=("mine",)))))
"""
        + END
    )
    [(code, message, hint)] = user.run(program, IMAGE=image)
    assert (code, "not an ordinary user's" in message) == ("failed_precondition", True), message
    assert "use a bridge" in hint


@pytest.fixture
def uplink() -> None:
    """pasta takes the host's own address: an interface with one, and a default route."""
    for words in (
        "link add up0 type veth peer name up1",
        "addr add 192.0.2.5/24 dev up0",
        "link set up1 up",
        "link set up0 up",
        "route add default via 192.0.2.1",
    ):
        if subprocess.run(["ip", *words.split()], check=False, capture_output=True).returncode:
            pytest.skip("veth interfaces not on this host")


def test_pasta_gives_a_pod_the_hosts_address(user: User, image: str, tun: None, uplink: None) -> None:
    need("pasta")
    try:
        program = BEGIN + SERVER + PASTA + "machine.containers.run(served); tell(out('web', 'ip', 'addr'))"
        process = user.start(f"{program}; sys.stdin.read()\n{END}", IMAGE=image)
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        assert line, process.stderr.read()
        assert any("inet 192.0.2.5/24" in text for text in json.loads(line[5:]))
        assert read_port(18080) == b"served\n"
        _, complaint = process.communicate(timeout=20)
        assert process.returncode == 0, complaint
        assert list((user.home / "run/rundlet").glob("network/*")) == []
    finally:
        subprocess.run(["ip", "link", "delete", "up0"], check=True)
