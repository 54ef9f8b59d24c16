"""How a node's cost grows with its pods: latency, memory; and what it costs when idle."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench, Job, rotate, timed_ms
from benchmarks.figure import Aim, Figure, Row
from benchmarks.figures.pods import live_once
from benchmarks.node import AT_A_TIME, OWN_MOUNTS, PARTIES, Node, running_nodes
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


def timing(action: Callable[[], object]) -> Job:
    return lambda: timed_ms(action)


class Fleet:
    """The pods of every party; `first` is the one that is asked."""

    def __init__(self, bench: Bench, nodes: dict[str, Node]) -> None:
        self.bench, self.nodes, self.size = bench, nodes, 0
        self.first: dict[str, tuple[str, str]] = {}

    def list_present(self) -> dict[str, Node]:
        return {party: node for party, node in self.nodes.items() if self.bench.has(party)}

    def grow(self, size: int) -> None:
        for party, node in self.list_present().items():
            with self.bench.sparing(party), ThreadPoolExecutor(AT_A_TIME) as pool:
                made = list(pool.map(node.run_pod, [f"pod-{number}" for number in range(self.size, size)]))
                self.first.setdefault(party, made[0])
        self.size = size

    def measure_calls(self) -> None:
        for row in CALLS:
            jobs = {
                party: timing(make_call(node, row, *self.first[party]))
                for party, node in self.list_present().items()
            }
            self.bench.turns(row, jobs, at=self.size)

    def measure_lives(self) -> None:
        for number in range(-1, self.bench.rounds):
            for party in rotate(list(self.list_present()), number):
                with self.bench.sparing(party):
                    lived = live_once(self.nodes[party], f"life-{time.time_ns()}")
                    for row in LIVES if number >= 0 else ():
                        self.bench.add(row, party, lived[row], at=self.size)

    def measure_memory(self) -> None:
        time.sleep(_SETTLE_S)
        owned = list_overhead()
        for party in self.list_present():
            self.bench.add("memory", party, read_pss_mib(owned[party]), at=self.size)

    def measure_idle(self, seconds: float) -> None:
        """All parties in the same time."""
        owned = list_overhead()
        before = {party: read_cpu_s(owned[party]) for party in self.list_present()}
        time.sleep(seconds)
        for party, cpu_s in before.items():
            self.bench.add("idle", party, 100 * (read_cpu_s(owned[party]) - cpu_s) / seconds)


def measure(bench: Bench) -> None:
    sizes = QUICK_SIZES if bench.quick else SIZES
    idle_at = IDLE_PODS if IDLE_PODS in sizes else sizes[-1]
    with running_nodes(bench, OWN_MOUNTS) as nodes:
        fleet = Fleet(bench, nodes)
        for party in nodes:
            bench.tell(
                party, f"pods as in “A pod's life over CRI”, {AT_A_TIME} at a time until there are enough"
            )
        for size in sizes:
            fleet.grow(size)
            fleet.measure_memory()
            fleet.measure_calls()
            fleet.measure_lives()
            if size == idle_at:
                fleet.measure_idle(IDLE_QUICK_S if bench.quick else IDLE_S)


FIGURE = Figure(
    name="density",
    title="Many pods",
    what="A node with 10 to 500 running pods, a container in each: calls, one more pod's life, and the memory (PSS) of "
    "everything but the workloads: for rundlet daemon and keeper, for containerd daemon, shims and pause processes. "
    f"With {IDLE_PODS} pods, the CPU time of those in {IDLE_S:.0f} s in which nobody asks for anything. Both runtimes "
    "have their pods at the same time, each daemon in a mount namespace of its own.",
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
