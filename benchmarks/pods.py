"""Pods over CRI, as a kubelet asks for them, with the CNI bridge network of our own plugins.

One daemon; one pod stays up throughout, as on a node in use: the bridge is there
already.  Every figure is the time from a request to its answer, gRPC included.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from rundlet.cli.walk_place import Daemon, Place
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer

# Ends at SIGTERM, as a well-behaved program does: what is measured is the runtime's part of a stop.
WAITER = ("sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait")
MANY, AT_A_TIME = 50, 10
LISTED = 100
MANY_ROUNDS = 3
_LIST_ROUNDS = 20


class Pods(NamedTuple):
    """Milliseconds by what was asked for; the last four once a round of many pods or of a full list."""

    sandbox_up: list[float]
    pod_up: list[float]
    exec_sync: list[float]
    stop_remove: list[float]
    many_up: list[float]
    list_containers: list[float]
    list_stats: list[float]


class Node:
    """The calls that a kubelet makes, against one daemon."""

    def __init__(self, client: Client, place: Place, image: str) -> None:
        self.client, self.place, self.image = client, place, image
        self.runtime = client.runtime

    def run_sandbox(self, name: str) -> tuple[str, api.PodSandboxConfig]:
        metadata = api.PodSandboxMetadata(name=name, uid=name, namespace="bench")
        config = api.PodSandboxConfig(metadata=metadata, log_directory=self.place.log_dir)
        config.linux.cgroup_parent = f"/bench/{name}"
        answer = self.client.call(self.runtime.RunPodSandbox, api.RunPodSandboxRequest(config=config))
        return answer.pod_sandbox_id, config

    def run_container(self, pod_id: str, pod: api.PodSandboxConfig, name: str = "c") -> str:
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name), image=api.ImageSpec(image=self.image),
            command=WAITER, log_path=f"{pod.metadata.name}-{name}.log",
        )  # fmt: skip
        request = api.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod)
        container_id: str = self.client.call(self.runtime.CreateContainer, request).container_id
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


def publish_waiter(address: str, directory: str) -> str:
    """An image of the host's busybox in the registry at `address`; the reference to pull."""
    layout = Layout(f"{directory}/layout")
    build_host_image(["busybox"], layout, "busybox", cmd=list(WAITER))
    client = RegistryClient()
    reference = f"{address}/bench/busybox:1"
    push_image(layout, "busybox", client, reference)
    client.close()
    return reference


@contextmanager
def running_node(directory: str) -> Iterator[Node]:
    with Place.make(keep=False, base=directory) as place:
        place.write_network()
        place.write_config("builtin")
        registry = RegistryServer(place.registry_dir)
        registry.start()
        daemon = Daemon(place)
        try:
            daemon.start()
            image = publish_waiter(registry.address, directory)
            with Client(f"unix://{place.socket}") as client:
                pull = api.PullImageRequest(image=api.ImageSpec(image=image))
                client.call(client.images.PullImage, pull)
                yield Node(client, place, image)
        finally:
            daemon.stop()
            registry.stop()


def timed_ms(action: Callable[[], object]) -> float:
    started_ns = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - started_ns) / 1e6


def live_once(node: Node, name: str) -> tuple[float, float, float, float]:
    """One pod's life; its figures in the order of `Pods`."""
    started_ns = time.perf_counter_ns()
    pod_id, config = node.run_sandbox(name)
    sandbox_ns = time.perf_counter_ns()
    container_id = node.run_container(pod_id, config)
    up_ns = time.perf_counter_ns()
    exec_ms = timed_ms(lambda: node.exec_true(container_id))
    remove_ms = timed_ms(lambda: node.remove_container(container_id))
    node.remove_pod(pod_id)
    return (sandbox_ns - started_ns) / 1e6, (up_ns - started_ns) / 1e6, exec_ms, remove_ms


def start_many(node: Node, number: int) -> float:
    """MANY pods with a container each, AT_A_TIME in flight; they are removed off the clock."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        names = [f"many-{number}-{index}" for index in range(MANY)]
        started_ns = time.perf_counter_ns()
        pods = list(pool.map(node.run_pod, names))
        elapsed_ms = (time.perf_counter_ns() - started_ns) / 1e6
        list(pool.map(node.remove_pod, (pod_id for pod_id, _ in pods)))
    return elapsed_ms


def measure_lists(node: Node) -> tuple[list[float], list[float]]:
    """ListContainers and ListContainerStats with LISTED containers, ten to a pod."""
    pods = [node.run_sandbox(f"list-{number}") for number in range(LISTED // 10)]
    for pod_id, config in pods:
        for number in range(10):
            node.run_container(pod_id, config, f"c{number}")
    call, runtime = node.client.call, node.runtime
    containers = [
        timed_ms(lambda: call(runtime.ListContainers, api.ListContainersRequest()))
        for _ in range(_LIST_ROUNDS)
    ]
    stats = [
        timed_ms(lambda: call(runtime.ListContainerStats, api.ListContainerStatsRequest()))
        for _ in range(_LIST_ROUNDS)
    ]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(node.remove_pod, (pod_id for pod_id, _ in pods)))
    return containers, stats


def measure_pods(directory: str, rounds: int, warm_up: int) -> Pods:
    with running_node(directory) as node:
        first, _ = node.run_pod("first")
        lives = [live_once(node, f"bench-{number}") for number in range(rounds + warm_up)]
        sandbox_up, pod_up, exec_sync, stop_remove = (
            list(column) for column in zip(*lives[warm_up:], strict=True)
        )
        many_up = [start_many(node, number) for number in range(MANY_ROUNDS)]
        list_containers, list_stats = measure_lists(node)
        node.remove_pod(first)
    return Pods(sandbox_up, pod_up, exec_sync, stop_remove, many_up, list_containers, list_stats)
