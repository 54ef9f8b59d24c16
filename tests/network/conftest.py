"""A small world for network tests: this process in a new namespace as the host, pods beside it."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import pytest

from rundlet.kernel.namespace import CLONE_NEWNET, setns, unshare
from rundlet.network.namespace import open_route_socket
from rundlet.network.network import Network, NetworkSettings
from rundlet.network.pod import PodNetns, PodNetwork

PLUGIN_DIR = "/usr/lib/cni"

# Says "ready", then tells the first caller the address that it seems to come from.
SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], 8080), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET) as s:
    print("ready", flush=True)
    client, address = s.accept()
    client.sendall(address[0].encode())
"""
CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as c:
    print(c.recv(100).decode())
"""


class Pod(NamedTuple):
    spec: PodNetwork
    netns: PodNetns


class World:
    """Namespaces by path; "" is the host's."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def run(self, netns: str, *command: str) -> str:
        done = subprocess.run([*inside(netns), *command], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def python(self, netns: str, code: str, *arguments: str) -> str:
        return self.run(netns, sys.executable, "-I", "-S", "-c", code, *arguments)

    def json(self, netns: str, *command: str) -> Any:
        return json.loads(self.run(netns, *command) or "[]")

    def namespace(self) -> str:
        name = uuid.uuid4().hex[:12]
        self.run("", "ip", "netns", "add", name)
        self.paths.append(f"/run/netns/{name}")
        return self.paths[-1]

    def outside(self) -> str:
        """A namespace beyond the host: 192.0.2.2 behind the host's 192.0.2.1, knowing no route to pods."""
        path = self.namespace()
        name = os.path.basename(path)
        self.run("", "ip", "link", "add", "uplink", "type", "veth", "peer", "name", "up0", "netns", name)
        self.run("", "ip", "address", "add", "192.0.2.1/24", "dev", "uplink")
        self.run("", "ip", "link", "set", "uplink", "up")
        self.run(path, "ip", "address", "add", "192.0.2.2/24", "dev", "up0")
        self.run(path, "ip", "link", "set", "up0", "up")
        return path

    def connect(self, client: str, server: str, listen: str, target: str = "", port: int = 8080) -> str:
        """The address that the server, listening in its namespace, sees a client of another come from."""
        command = [*inside(server), sys.executable, "-I", "-S", "-c", SERVER, listen]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                return self.run(client, sys.executable, "-I", "-S", "-c", CLIENT, target or listen, str(port))
            finally:
                process.kill()


def inside(netns: str) -> list[str]:
    return ["nsenter", f"--net={netns}", "--"] if netns else []


@pytest.fixture
def world() -> Iterator[World]:
    if shutil.which("ip") is None:
        pytest.skip("ip not on this host")
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNET)
    made = World()
    made.run("", "ip", "link", "set", "lo", "up")
    try:
        yield made
    finally:
        for path in made.paths:
            if os.path.exists(path):
                made.run("", "ip", "netns", "delete", os.path.basename(path))
        setns(home, CLONE_NEWNET)
        os.close(home)


@pytest.fixture
def serve(world: World) -> Iterator[Callable[..., None]]:
    """Run Python code in a namespace until the end of the test, from when it says ready."""
    running: list[subprocess.Popen[str]] = []

    def start(netns: str, code: str, *arguments: str) -> IO[str]:
        command = [*inside(netns), sys.executable, "-I", "-S", "-c", code, *arguments]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert running[-1].stdout is not None
        assert running[-1].stdout.readline() == "ready\n"
        return running[-1].stdout

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def make_pod(world: World) -> Iterator[Callable[[], Pod]]:
    fds: list[int] = []

    def make(**options: Any) -> Pod:
        path = world.namespace()
        fds.extend((os.open(path, os.O_RDONLY | os.O_CLOEXEC), open_route_socket(path)))
        spec = PodNetwork(uuid.uuid4().hex * 2, f"pod-{len(fds)}", "default", "uid", **options)
        return Pod(spec, PodNetns(path, fds[-2], fds[-1]))

    yield make
    for fd in fds:
        os.close(fd)


@pytest.fixture
def make_network(tmp_path: Any) -> Callable[..., Network]:
    """A Network whose one configuration is `conf`, with state under the test's own directory."""

    def make(conf: dict[str, Any], **settings: Any) -> Network:
        directory = tmp_path / settings.pop("directory", "net.d")
        directory.mkdir(exist_ok=True)
        name = "10-net.conflist" if "plugins" in conf else "10-net.conf"
        (directory / settings.pop("file", name)).write_text(json.dumps(conf))
        bin_dirs = settings.pop("bin_dirs", (PLUGIN_DIR,))
        return Network(
            NetworkSettings(str(directory), bin_dirs=bin_dirs, cache_dir=str(tmp_path / "cache"), **settings)
        )

    return make


@pytest.fixture
def make_spec() -> Callable[..., PodNetwork]:
    return lambda **options: PodNetwork("id", "pod", "default", "uid", **options)


@pytest.fixture
def bridge_conf(tmp_path: Any) -> Callable[..., dict[str, Any]]:
    """The book's network; keyword arguments change the bridge's options."""

    def make(**options: Any) -> dict[str, Any]:
        return {
            "cniVersion": "0.2.0",
            "name": "mynet",
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "ipam": {
                "type": "host-local",
                "subnet": "10.88.0.0/16",
                "dataDir": str(tmp_path / "leases"),
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        } | options

    return make
