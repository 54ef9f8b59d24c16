"""CRI runtimes to be measured, each with its own state, and the calls that a kubelet makes.

    rundlet       the daemon of this checkout, built-in CNI plugins
    containerd    Debian's, with runc and Debian's CNI plugins
    endpoint      whatever listens on the socket given by --endpoint

All state is on tmpfs.  All pull from one registry on loopback.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from benchmarks.bench import BIN, Bench, await_true
from benchmarks.daemons import CONTAINERD_CRI, running, running_containerd
from benchmarks.figure import OURS, Party
from rundlet.cli.walk_place import accepts
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer

# Ends at SIGTERM, as a well-behaved program does: what is measured is the runtime's part of a stop.
WAITER = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
PAUSE = ("sleep", "1000000")
AT_A_TIME = 10  # calls in flight where many pods are made or removed
CONTAINERD, ENDPOINT = "containerd", "endpoint"
PARTIES = (Party(OURS), Party(CONTAINERD, CONTAINERD_CRI))
# What a kubelet asks for by default.
NAMESPACES = api.NamespaceOption(network=api.POD, pid=api.CONTAINER, ipc=api.POD)
# A daemon whose mounts are its own: what many pods mount costs only whose pods they are.
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")


class Images(NamedTuple):
    """References in the registry on loopback."""

    waiter: str
    pause: str


class Node:
    """The calls that a kubelet makes, against one daemon."""

    def __init__(self, client: Client, image: str, log_dir: str, cgroup_parent: str = "/bench") -> None:
        self.client, self.image, self.log_dir, self.cgroup_parent = client, image, log_dir, cgroup_parent
        self.runtime = client.runtime

    def pull(self, image: str = "") -> None:
        request = api.PullImageRequest(image=api.ImageSpec(image=image or self.image))
        self.client.call(self.client.images.PullImage, request)

    def remove_image(self, image: str) -> None:
        self.client.call(
            self.client.images.RemoveImage, api.RemoveImageRequest(image=api.ImageSpec(image=image))
        )

    def run_sandbox(self, name: str) -> tuple[str, api.PodSandboxConfig]:
        metadata = api.PodSandboxMetadata(name=name, uid=name, namespace="bench")
        config = api.PodSandboxConfig(metadata=metadata, hostname=name, log_directory=self.log_dir)
        config.dns_config.servers.append("127.0.0.1")
        config.linux.cgroup_parent = self.cgroup_parent and f"{self.cgroup_parent}/{name}"
        config.linux.security_context.namespace_options.CopyFrom(NAMESPACES)
        answer = self.client.call(self.runtime.RunPodSandbox, api.RunPodSandboxRequest(config=config))
        return answer.pod_sandbox_id, config

    def create_container(
        self, pod_id: str, pod: api.PodSandboxConfig, name: str = "c", *,
        command: Sequence[str] = WAITER, mounts: Sequence[api.Mount] = (),
    ) -> str:  # fmt: skip
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name), image=api.ImageSpec(image=self.image),
            command=command, mounts=mounts, log_path=f"{pod.metadata.name}-{name}.log",
        )  # fmt: skip
        config.linux.resources.cpu_shares, config.linux.resources.memory_limit_in_bytes = 102, 128 << 20
        config.linux.security_context.namespace_options.CopyFrom(NAMESPACES)
        request = api.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod)
        container_id: str = self.client.call(self.runtime.CreateContainer, request).container_id
        return container_id

    def start_container(self, container_id: str) -> None:
        self.client.call(self.runtime.StartContainer, api.StartContainerRequest(container_id=container_id))

    def run_container(self, pod_id: str, pod: api.PodSandboxConfig, name: str = "c") -> str:
        container_id = self.create_container(pod_id, pod, name)
        self.start_container(container_id)
        return container_id

    def run_pod(self, name: str) -> tuple[str, str]:
        pod_id, config = self.run_sandbox(name)
        return pod_id, self.run_container(pod_id, config)

    def exec_true(self, container_id: str) -> None:
        request = api.ExecSyncRequest(container_id=container_id, cmd=["true"], timeout=10)
        if self.client.call(self.runtime.ExecSync, request).exit_code:
            raise RuntimeError("true ended badly")

    def container_status(self, container_id: str) -> api.ContainerStatus:
        request = api.ContainerStatusRequest(container_id=container_id)
        return self.client.call(self.runtime.ContainerStatus, request).status

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
    build_host_image(["busybox"], layout, "busybox", cmd=PAUSE)
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


def rundletd_argv(base: str, run: str) -> list[str]:
    """Its command line, with a network written for it and an empty configuration."""
    write_network(f"{base}/net.d", "bench0", "10.70.0.0/16")
    with open(f"{base}/config.toml", "w", encoding="utf-8"):
        pass
    return [
        f"{BIN}/rundletd", "--socket", f"{run}/rundlet.sock", "--root", f"{base}/root", "--run-root", run,
        "--cni-conf", f"{base}/net.d", "--config", f"{base}/config.toml",
    ]  # fmt: skip


def rundlet_socket() -> str:
    return f"/run/rundlet-bench-{os.getpid()}/rundlet.sock"


@contextmanager
def running_rundlet(directory: str, images: Images, prefix: Sequence[str] = ()) -> Iterator[Node]:
    base, path = f"{directory}/rundlet", rundlet_socket()
    os.makedirs(f"{base}/logs")
    with running([*prefix, *rundletd_argv(base, os.path.dirname(path))], f"{base}/log"):
        await_true(lambda: accepts(path), "rundletd answers")
        with Client(f"unix://{path}") as client:
            yield Node(client, images.waiter, f"{base}/logs")


@contextmanager
def running_containerd_node(directory: str, images: Images, prefix: Sequence[str] = ()) -> Iterator[Node]:
    base = f"{directory}/containerd"
    write_network(f"{base}/net.d", "bench1", "10.71.0.0/16")
    os.makedirs(f"{base}/logs")
    with (
        running_containerd(base, images.pause, prefix) as socket_path,
        Client(f"unix://{socket_path}") as client,
    ):
        yield Node(client, images.waiter, f"{base}/logs")


@contextmanager
def reaching_endpoint(directory: str, endpoint: str) -> Iterator[Node]:
    """The runtime of --endpoint, "SOCKET IMAGE"; its pods' groups lie where it puts them."""
    address, _, image = endpoint.partition(" ")
    with Client(address) as client:
        yield Node(client, image, f"{directory}/endpoint-logs", cgroup_parent="")


@contextmanager
def running_nodes(bench: Bench, prefix: Sequence[str] = (), only: str = "") -> Iterator[dict[str, Node]]:
    """Every runtime of this host (or `only` one), by party, ours first; the image is there.

    Who does not start drops out.
    """
    with ExitStack() as stack:
        images = stack.enter_context(serving_images(bench.directory))
        makers = {
            OURS: running_rundlet(bench.directory, images, prefix),
            CONTAINERD: running_containerd_node(bench.directory, images, prefix),
        }
        if bench.endpoint:
            makers[ENDPOINT] = reaching_endpoint(bench.directory, bench.endpoint)
        nodes = {}
        for party, maker in makers.items():
            if bench.has(party) and only in {"", party}:
                with bench.sparing(party):
                    nodes[party] = stack.enter_context(maker)
                    nodes[party].pull()
        yield {party: node for party, node in nodes.items() if bench.has(party)}
