"""Pods over CRI, as a kubelet asks for them, with a CNI bridge network; the runtimes take turns.

One pod stays up throughout, as on a node in use: the bridge is there already.  Every
figure is the time from a request to its answer, gRPC included.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from benchmarks.node import AT_A_TIME, Node, running_nodes, timed_ms
from rundlet.cri.proto import api_pb2 as api

MANY = 50
LISTED = 100
MANY_ROUNDS = 3
_LIST_ROUNDS = 20


class Pods(NamedTuple):
    """Milliseconds by what was asked for; the last three once a round of many pods or of a full list."""

    sandbox_up: list[float]
    pod_up: list[float]
    exec_sync: list[float]
    stop_remove: list[float]
    life: list[float]
    many_up: list[float]
    list_containers: list[float]
    list_stats: list[float]


class Expected(NamedTuple):
    """`most_ms` on a quiet machine of 2 cores; `ratio` is the most of containerd's time, 0 for no such aim."""

    what: str
    most_ms: float
    ratio: float = 0.0


EXPECTED = {
    "sandbox_up": Expected("RunPodSandbox + CNI", 40.0),
    "pod_up": Expected("pod up: run + create + start", 30.0, 0.25),
    "exec_sync": Expected("ExecSync true", 8.0),
    "stop_remove": Expected("stop + remove container", 8.0),
    "life": Expected("a pod's whole life", 100.0, 0.25),
    "many_up": Expected(f"{MANY} pods up, {AT_A_TIME} at a time", 900.0, 0.25),
    "list_containers": Expected(f"ListContainers({LISTED})", 2.0),
    "list_stats": Expected(f"ListContainerStats({LISTED})", 40.0),
}


def live_once(node: Node, name: str) -> tuple[float, ...]:
    """One pod's life; its figures in the order of `Pods`."""
    started_ns = time.perf_counter_ns()
    pod_id, config = node.run_sandbox(name)
    sandbox_ns = time.perf_counter_ns()
    container_id = node.run_container(pod_id, config)
    up_ns = time.perf_counter_ns()
    exec_ms = timed_ms(lambda: node.exec_true(container_id))
    remove_ms = timed_ms(lambda: node.remove_container(container_id))
    node.remove_pod(pod_id)
    life_ms = (time.perf_counter_ns() - started_ns) / 1e6
    return (sandbox_ns - started_ns) / 1e6, (up_ns - started_ns) / 1e6, exec_ms, remove_ms, life_ms


def start_many(node: Node, number: int) -> float:
    """MANY pods with a container each, AT_A_TIME in flight; they are removed off the clock."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        names = [f"many-{number}-{index}" for index in range(MANY)]
        started_ns = time.perf_counter_ns()
        pods = list(pool.map(node.run_pod, names))
        elapsed_ms = (time.perf_counter_ns() - started_ns) / 1e6
        list(pool.map(node.remove_pod, (pod_id for pod_id, _ in pods)))
    return elapsed_ms


def measure_lists(node: Node) -> list[list[float]]:
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
    return [containers, stats]


def measure_pods(directory: str, rounds: int, warm_up: int) -> dict[str, Pods]:
    with running_nodes(directory) as nodes:
        first = {name: node.run_pod("first")[0] for name, node in nodes.items()}
        lives: dict[str, list[tuple[float, ...]]] = {name: [] for name in nodes}
        many: dict[str, list[float]] = {name: [] for name in nodes}
        for number in range(rounds + warm_up):
            for name, node in nodes.items():
                lives[name].append(live_once(node, f"bench-{number}"))
        for number in range(MANY_ROUNDS):
            for name, node in nodes.items():
                many[name].append(start_many(node, number))
        measured = {}
        for name, node in nodes.items():
            columns = [list(column) for column in zip(*lives[name][warm_up:], strict=True)]
            columns += [many[name], *measure_lists(node)]
            measured[name] = Pods(*columns)
            node.remove_pod(first[name])
    return measured


def show_pods(measured: dict[str, Pods]) -> None:
    """Medians and quartiles of ours, the peer's median and the ratio to it."""
    ours, peer = measured["rundlet"], measured.get("containerd")
    print(
        f"\n{'pods over CRI, ms':<30} {'median':>8} {'25 %':>8} {'75 %':>8} {'at most':>8} {'containerd':>19}"
    )
    for field, expected in EXPECTED.items():
        times_ms = getattr(ours, field)
        median = statistics.median(times_ms)
        low, _, high = statistics.quantiles(times_ms, n=4)
        reached = median <= expected.most_ms
        beside = ""
        if peer is not None:
            theirs = statistics.median(getattr(peer, field))
            beside = f"{theirs:10.2f} {median / theirs:7.2f}x"
            reached = reached and (not expected.ratio or median <= expected.ratio * theirs)
        print(
            f"{expected.what:<30} {median:8.2f} {low:8.2f} {high:8.2f} {expected.most_ms:8.0f} {beside:>19}"
            f" {'reached' if reached else 'MISSED'}"
        )
