"""Debian's containerd, by CRI, with our CNI executables."""

import json
import os
import signal
import subprocess
import time

import pytest

from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2
from rundlet.network.install import install_plugins
from tests.oci.images import write_oci_archive
from tests.oci.runtime import find_peer, make_rootfs

pytestmark = [pytest.mark.kernel, pytest.mark.differential]

IMAGE = "docker.io/library/box:latest"
TIMEOUT_S = 20

CONFIG = """version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{dir}/bin"
    conf_dir = "{dir}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"""


@pytest.fixture
def directory(tmp_path):
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": "10.88.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(tmp_path / "leases"),
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    conf = {"cniVersion": "1.0.0", "name": "mynet", "plugins": [bridge, portmap]}
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d" / "10-mynet.conflist").write_text(json.dumps(conf))
    (tmp_path / "config.toml").write_text(CONFIG.format(dir=tmp_path, image=IMAGE))
    install_plugins(str(tmp_path / "bin"))
    make_rootfs(tmp_path / "image")
    write_oci_archive(tmp_path / "image" / "rootfs", tmp_path / "image.tar", IMAGE, command=("sleep", "1000"))
    return tmp_path


@pytest.fixture
def containerd(world, directory):
    """Its CRI client; the daemon lives in the test's network namespace."""
    program, client = find_peer("containerd"), find_peer("ctr")
    with open(directory / "log", "wb") as log:
        daemon = subprocess.Popen([program, "--config", f"{directory}/config.toml"], stdout=log, stderr=log)
    deadline = time.monotonic() + TIMEOUT_S
    socket = f"{directory}/containerd.sock"
    importing = [client, "--address", socket, "-n", "k8s.io", "images", "import", f"{directory}/image.tar"]
    while subprocess.run(importing, capture_output=True, check=False).returncode:
        assert daemon.poll() is None, (directory / "log").read_text()
        assert time.monotonic() < deadline, (directory / "log").read_text()
    with Client(f"unix://{socket}", connect_timeout_s=TIMEOUT_S) as cri:
        yield cri
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(TIMEOUT_S)


def test_pods_of_containerd_on_our_network(world, containerd, directory):
    config = api_pb2.PodSandboxConfig(
        metadata=api_pb2.PodSandboxMetadata(name="web", uid="u", namespace="default", attempt=0),
        port_mappings=[api_pb2.PortMapping(host_port=18080, container_port=8080)],
        linux=api_pb2.LinuxPodSandboxConfig(),
    )
    request = api_pb2.RunPodSandboxRequest(config=config)
    pod = containerd.call(containerd.runtime.RunPodSandbox, request).pod_sandbox_id
    status = containerd.call(
        containerd.runtime.PodSandboxStatus, api_pb2.PodSandboxStatusRequest(pod_sandbox_id=pod)
    ).status

    assert status.network.ip == "10.88.0.2"
    (namespace,) = (name for name in os.listdir("/run/netns") if name.startswith("cni-"))
    seen = world.connect("", f"/run/netns/{namespace}", "10.88.0.2", target="127.0.0.1", port=18080)
    assert seen == "10.88.0.1"

    containerd.call(containerd.runtime.StopPodSandbox, api_pb2.StopPodSandboxRequest(pod_sandbox_id=pod))
    containerd.call(containerd.runtime.RemovePodSandbox, api_pb2.RemovePodSandboxRequest(pod_sandbox_id=pod))
    assert [link["ifname"] for link in world.json("", "ip", "-j", "link")] == ["lo", "cni0"]
    assert "hostports" not in world.run("", "nft", "list", "ruleset")
    leases = [path.name for path in (directory / "leases" / "mynet").iterdir()]
    assert not [name for name in leases if name.startswith("10.")]
