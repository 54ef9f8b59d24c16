"""CRI runtimes to be measured, each with its own state, and the calls that a kubelet makes.

    rundlet       the daemon of this checkout, built-in CNI plugins
    containerd    Debian's, with runc and Debian's CNI plugins, where all three are installed

Images lie on disk, volatile state on tmpfs, as on a node.  Both pull from one registry on loopback.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from rundlet.cli.walk_place import Daemon, Place, accepts
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer

# Ends at SIGTERM, as a well-behaved program does: what is measured is the runtime's part of a stop.
WAITER = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
WORKLOAD = ("sh", "sleep")  # the names of its processes
PLUGINS = "/usr/lib/cni"
AT_A_TIME = 10  # calls in flight where many pods are made or removed
# What a kubelet asks for by default.
NAMESPACES = api.NamespaceOption(network=api.POD, pid=api.CONTAINER, ipc=api.POD)
_READY_TIMEOUT_S = 20.0

CONTAINERD = """\
version = 2
root = "{base}/root"
state = "{run}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{base}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{base}/net.d"
"""


class Images(NamedTuple):
    """References in the registry on loopback."""

    waiter: str
    pause: str


class Node:
    """The calls that a kubelet makes, against one daemon."""

    def __init__(self, client: Client, image: str, log_dir: str) -> None:
        self.client, self.image, self.log_dir = client, image, log_dir
        self.runtime = client.runtime

    def pull(self) -> None:
        request = api.PullImageRequest(image=api.ImageSpec(image=self.image))
        self.client.call(self.client.images.PullImage, request)

    def run_sandbox(self, name: str) -> tuple[str, api.PodSandboxConfig]:
        metadata = api.PodSandboxMetadata(name=name, uid=name, namespace="bench")
        config = api.PodSandboxConfig(metadata=metadata, hostname=name, log_directory=self.log_dir)
        config.dns_config.servers.append("127.0.0.1")
        config.linux.cgroup_parent = f"/bench/{name}"
        config.linux.security_context.namespace_options.CopyFrom(NAMESPACES)
        answer = self.client.call(self.runtime.RunPodSandbox, api.RunPodSandboxRequest(config=config))
        return answer.pod_sandbox_id, config

    def create_container(self, pod_id: str, pod: api.PodSandboxConfig, name: str = "c") -> str:
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name), image=api.ImageSpec(image=self.image),
            command=WAITER, log_path=f"{pod.metadata.name}-{name}.log",
        )  # fmt: skip
        config.linux.resources.cpu_shares, config.linux.resources.memory_limit_in_bytes = 102, 128 << 20
        config.linux.security_context.namespace_options.CopyFrom(NAMESPACES)
        request = api.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod)
        container_id: str = self.client.call(self.runtime.CreateContainer, request).container_id
        return container_id

    def run_container(self, pod_id: str, pod: api.PodSandboxConfig, name: str = "c") -> str:
        container_id = self.create_container(pod_id, pod, name)
        self.client.call(self.runtime.StartContainer, api.StartContainerRequest(container_id=container_id))
        return container_id

    def run_pod(self, name: str) -> tuple[str, str]:
        pod_id, config = self.run_sandbox(name)
        return pod_id, self.run_container(pod_id, config)

    def exec_true(self, container_id: str) -> None:
        request = api.ExecSyncRequest(container_id=container_id, cmd=["true"], timeout=10)
        if self.client.call(self.runtime.ExecSync, request).exit_code:
            raise RuntimeError("true ended badly")

    def remove_container(self, container_id: str) -> None:
        stop = api.StopContainerRequest(container_id=container_id, timeout=10)
        self.client.call(self.runtime.StopContainer, stop)
        self.client.call(self.runtime.RemoveContainer, api.RemoveContainerRequest(container_id=container_id))

    def remove_pod(self, pod_id: str) -> None:
        self.client.call(self.runtime.StopPodSandbox, api.StopPodSandboxRequest(pod_sandbox_id=pod_id))
        self.client.call(self.runtime.RemovePodSandbox, api.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


# --- who serves ---------------------------------------------------------------


@contextmanager
def serving_images(directory: str) -> Iterator[Images]:
    """A registry on loopback with an image of the host's busybox, under two names."""
    registry = RegistryServer(f"{directory}/registry")
    registry.start()
    layout = Layout(f"{directory}/layout")
    build_host_image(["busybox"], layout, "busybox", cmd=["sleep", "1000000"])
    client = RegistryClient()
    images = Images(f"{registry.address}/bench/waiter:1", f"{registry.address}/bench/pause:1")
    for reference in images:
        push_image(layout, "busybox", client, reference)
    client.close()
    try:
        yield images
    finally:
        registry.stop()


def write_network(directory: str, bridge: str, subnet: str) -> None:
    os.makedirs(directory, exist_ok=True)
    ipam = {"type": "host-local", "subnet": subnet, "routes": [{"dst": "0.0.0.0/0"}]}
    plugin = {"type": "bridge", "bridge": bridge, "isGateway": True, "ipMasq": True, "ipam": ipam}
    with open(f"{directory}/10-{bridge}.conflist", "w", encoding="utf-8") as file:
        json.dump({"cniVersion": "1.0.0", "name": bridge, "plugins": [plugin]}, file)


@contextmanager
def running_rundlet(directory: str, images: Images) -> Iterator[Node]:
    run = f"/run/rundlet-bench-{os.getpid()}"
    with Place.make(keep=False, base=f"{directory}/rundlet") as place:
        place.run_root, place.socket = run, f"{run}/rundlet.sock"
        write_network(place.conf_dir, "bench0", "10.70.0.0/16")
        place.write_config("builtin")
        daemon = Daemon(place)
        try:
            daemon.start()
            with Client(f"unix://{place.socket}") as client:
                yield Node(client, images.waiter, place.log_dir)
        finally:
            daemon.stop()


def missing_for_containerd() -> str:
    """What this host lacks to run it; "" when it has all."""
    programs = [name for name in ("containerd", "containerd-shim-runc-v2", "runc") if not shutil.which(name)]
    return ", ".join(programs + ([] if os.path.exists(f"{PLUGINS}/bridge") else [f"{PLUGINS}/bridge"]))


@contextmanager
def running_containerd(directory: str, images: Images) -> Iterator[Node]:
    base, run = f"{directory}/containerd", f"/run/containerd-bench-{os.getpid()}"
    socket = f"{run}/containerd.sock"
    for path in (f"{base}/logs", run):
        os.makedirs(path)
    write_network(f"{base}/net.d", "bench1", "10.71.0.0/16")
    with open(f"{base}/config.toml", "w", encoding="utf-8") as file:
        file.write(CONTAINERD.format(base=base, run=run, socket=socket, pause=images.pause, plugins=PLUGINS))
    with open(f"{base}/log", "wb") as log:
        process = subprocess.Popen(["containerd", "-c", f"{base}/config.toml"], stdout=log, stderr=log)
    try:
        await_socket(socket)
        with Client(f"unix://{socket}") as client:
            yield Node(client, images.waiter, f"{base}/logs")
    finally:
        process.terminate()
        process.wait()


def await_socket(path: str) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not accepts(path):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody answers on {path}")
        time.sleep(0.002)


@contextmanager
def running_nodes(directory: str) -> Iterator[dict[str, Node]]:
    """Every runtime of this host, by name, ours first; the image is there."""
    with ExitStack() as stack:
        images = stack.enter_context(serving_images(directory))
        nodes = {"rundlet": stack.enter_context(running_rundlet(directory, images))}
        if not missing_for_containerd():
            nodes["containerd"] = stack.enter_context(running_containerd(directory, images))
        for node in nodes.values():
            node.pull()
        yield nodes


def timed_ms(action: Callable[[], object]) -> float:
    started_ns = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - started_ns) / 1e6
