"""Pods over CRI, as a kubelet asks for them, with a CNI bridge network."""

import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench, rotate, timed_ms
from benchmarks.figure import Aim, Figure, Party, Row
from benchmarks.node import AT_A_TIME, CONTAINERD, ENDPOINT, PARTIES, WAITER, Node, running_nodes

MANY, MANY_ROUNDS, MANY_QUICK = 50, 3, 1
WARM_UP = 3
LIFE = ("sandbox_up", "pod_up", "exec_sync", "stop_remove", "life")


def live_once(node: Node, name: str) -> dict[str, float]:
    """One pod's life; milliseconds by row."""
    begun_ns = time.perf_counter_ns()
    pod_id, config = node.run_sandbox(name)
    sandbox_ns = time.perf_counter_ns()
    container_id = node.run_container(pod_id, config)
    up_ns = time.perf_counter_ns()
    exec_ms = timed_ms(lambda: node.exec_true(container_id))
    remove_ms = timed_ms(lambda: node.remove_container(container_id))
    node.remove_pod(pod_id)
    life_ms = (time.perf_counter_ns() - begun_ns) / 1e6
    return dict(zip(LIFE, ((sandbox_ns - begun_ns) / 1e6, (up_ns - begun_ns) / 1e6, exec_ms, remove_ms, life_ms),
                    strict=True))  # fmt: skip


def start_many(node: Node, label: str) -> float:
    """MANY pods with a container each, AT_A_TIME in flight; they are removed off the clock."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        names = [f"{label}-{index}" for index in range(MANY)]
        begun_ns = time.perf_counter_ns()
        pods = list(pool.map(node.run_pod, names))
        elapsed_ms = (time.perf_counter_ns() - begun_ns) / 1e6
        list(pool.map(node.remove_pod, (pod_id for pod_id, _ in pods)))
    return elapsed_ms


def measure_lives(bench: Bench, nodes: dict[str, Node]) -> None:
    for number in range(-WARM_UP, bench.rounds):
        for party in rotate(list(nodes), number):
            if bench.has(party):
                with bench.sparing(party):
                    lived = live_once(nodes[party], f"bench-{time.time_ns()}")
                    if number >= 0:
                        for row, value in lived.items():
                            bench.add(row, party, value)


def measure(bench: Bench) -> None:
    with running_nodes(bench) as nodes:
        for party, node in nodes.items():
            with bench.sparing(party):
                node.run_pod("first")
                bench.tell(party, CALLS)
        measure_lives(bench, nodes)
        many = {
            party: lambda node=node: start_many(node, f"many-{time.time_ns()}")
            for party, node in nodes.items()
        }
        bench.turns("many_up", many, rounds=MANY_QUICK if bench.quick else MANY_ROUNDS, warm_up=0)


CALLS = (
    "RunPodSandbox (network of its own), CreateContainer and StartContainer of `" + " ".join(WAITER) + "`, "
    "ExecSync `true`, StopContainer, RemoveContainer, StopPodSandbox, RemovePodSandbox"
)
FIGURE = Figure(
    name="pods",
    title="A pod's life over CRI",
    what="What a kubelet asks for, one pod after the other, each with an address from a bridge and host-local: rundlet "
    "with its built-in plugins, the peers with Debian's. One pod stays up throughout, as on a node in use. Every "
    f"figure is the time from a request to its answer, gRPC included. Last, {MANY} pods with a container each, "
    f"{AT_A_TIME} at a time. `--endpoint SOCKET` adds any other runtime.",
    parties=(*PARTIES, Party(ENDPOINT)),
    rows=(
        Row("sandbox_up", "sandbox with its network"),
        Row("pod_up", "pod up: sandbox, container created and started"),
        Row("exec_sync", "ExecSync `true`"),
        Row("stop_remove", "stop and remove the container"),
        Row("life", "the whole life of a pod"),
        Row("many_up", f"{MANY} pods up, {AT_A_TIME} at a time"),
    ),
    aims=(
        Aim("pod_up", 0.25, "issue 7", beside=CONTAINERD),
        Aim("life", 0.25, "issue 7", beside=CONTAINERD),
        Aim("many_up", 0.25, "issue 7", beside=CONTAINERD),
        Aim("sandbox_up", 40.0, "issue 2"),
        Aim("pod_up", 30.0, "issue 4"),
        Aim("exec_sync", 8.0, "issue 4"),
        Aim("stop_remove", 8.0, "issue 4"),
        Aim("many_up", 900.0, "issue 4"),
    ),
    measure=measure,
    rounds=30,
    quick_rounds=8,
)
