"""How a node's cost grows with its pods: latency, memory; and what it costs when idle."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.bench import Bench, timed_ms
from benchmarks.figure import OURS, Aim, Figure, Row
from benchmarks.figures.pods import live_once
from benchmarks.node import AT_A_TIME, CONTAINERD, PARTIES, Node, running_nodes
from benchmarks.processes import list_overhead, read_cpu_s, read_pss_mib
from rundlet.cri.proto import api_pb2 as api

SIZES, QUICK_SIZES = (10, 100, 200, 500), (10, 50)
IDLE_PODS, IDLE_S, IDLE_QUICK_S = 200, 60.0, 5.0
CALLS = ("version", "container_status", "pod_status", "exec_sync")
LIVES = {"pod_up": "pod up", "stop_remove": "stop and remove a container", "life": "the whole life of a pod"}
_SETTLE_S = 3.0


def make_call(node: Node, row: str, pod_id: str, container_id: str) -> Callable[[], object]:
    call, runtime = node.client.call, node.runtime
    pod = api.PodSandboxStatusRequest(pod_sandbox_id=pod_id)
    return {
        "version": lambda: call(runtime.Version, api.VersionRequest()),
        "container_status": lambda: node.container_status(container_id),
        "pod_status": lambda: call(runtime.PodSandboxStatus, pod),
        "exec_sync": lambda: node.exec_true(container_id),
    }[row]


class Fleet:
    """The pods of one party; the first is the one that is asked."""

    def __init__(self, bench: Bench, party: str, node: Node) -> None:
        self.bench, self.party, self.node = bench, party, node
        self.pods: list[tuple[str, str]] = []

    def add(self, row: str, value: float) -> None:
        size = 0 if row == "idle" else len(self.pods)
        self.bench.add(row, self.party, value, at=size)

    def grow(self, size: int) -> None:
        names = [f"pod-{number}" for number in range(len(self.pods), size)]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            self.pods += pool.map(self.node.run_pod, names)

    def measure_calls(self) -> None:
        for row in CALLS:
            call = make_call(self.node, row, *self.pods[0])
            self.bench.turns(row, {self.party: partial(timed_ms, call)}, at=len(self.pods))

    def measure_lives(self) -> None:
        for number in range(-1, self.bench.rounds):
            lived = live_once(self.node, f"life-{time.time_ns()}")
            for row in LIVES if number >= 0 else ():
                self.add(row, lived[row])

    def measure_memory(self) -> None:
        time.sleep(_SETTLE_S)
        self.add("memory", read_pss_mib(list_overhead()[self.party]))

    def measure_idle(self, seconds: float) -> None:
        owned = list_overhead()[self.party]
        before_s = {pid: read_cpu_s([pid]) for pid in owned}
        time.sleep(seconds)
        # One that has ended in between tells nothing any more.
        used_s = sum(max(0.0, read_cpu_s([pid]) - earlier_s) for pid, earlier_s in before_s.items())
        self.add("idle", 100 * used_s / seconds)

    def remove(self) -> None:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(self.node.remove_pod, (pod_id for pod_id, _ in self.pods)))


def measure_fleet(bench: Bench, fleet: Fleet) -> None:
    sizes = QUICK_SIZES if bench.quick else SIZES
    idle_at = IDLE_PODS if IDLE_PODS in sizes else sizes[-1]
    for size in sizes:
        fleet.grow(size)
        fleet.measure_memory()
        fleet.measure_calls()
        fleet.measure_lives()
        if size == idle_at:
            fleet.measure_idle(IDLE_QUICK_S if bench.quick else IDLE_S)


def measure(bench: Bench) -> None:
    """One party after the other: a thousand pods of two runtimes on one kernel are no node's."""
    for party in (OURS, CONTAINERD):
        bench.tell(party, f"pods as in “A pod's life over CRI”, {AT_A_TIME} at a time until there are enough")
        with running_nodes(bench, only=party) as nodes, bench.sparing(party):
            for node in nodes.values():
                fleet = Fleet(bench, party, node)
                measure_fleet(bench, fleet)
                if party == OURS:  # the last one's end with the throw-away node
                    fleet.remove()


FIGURE = Figure(
    name="density",
    title="Many pods",
    what="A node with 10 to 500 running pods, a container in each: calls, one more pod's life, and the memory (PSS) of "
    "everything but the workloads: for rundlet daemon and keeper, for containerd daemon, shims and pause processes. "
    f"With {IDLE_PODS} pods, the CPU time of those in {IDLE_S:.0f} s in which nobody asks for anything. One runtime after the other, as each has a node to itself.",
    parties=PARTIES,
    rows=(
        Row("memory", "memory of everything but the workloads", unit="MiB", grows_with="pods"),
        Row("idle", f"CPU of an idle node with {IDLE_PODS} pods", unit="% of a CPU"),
        Row("version", "Version", grows_with="pods"),
        Row("container_status", "ContainerStatus", grows_with="pods"),
        Row("pod_status", "PodSandboxStatus", grows_with="pods"),
        Row("exec_sync", "ExecSync `true`", grows_with="pods"),
        *(Row(key, what, grows_with="pods") for key, what in LIVES.items()),
    ),
    aims=(
        Aim("memory", 60.0, "issue 7", at=500),
        *(Aim(row, 1.5, "issue 7", at=500, to_size=10) for row in (*CALLS, *LIVES)),
        Aim("idle", 1.0, "issue 4"),
    ),
    measure=measure,
    rounds=12,
    quick_rounds=4,
    time_limit_s=600.0,
)
