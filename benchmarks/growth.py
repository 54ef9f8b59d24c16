"""How cost grows with the number of pods: latency, lists, memory; and what an idle node costs.

    python -m benchmarks.growth [--idle-s 60]      inside a throw-away node (root), some 2 minutes

At each number of pods, a container in each: one more pod's life, one exec, the lists, and the PSS
of everything but the workloads (daemon, keeper).  At IDLE pods the CPU time of those in a while in
which nobody asks for anything.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.node import AT_A_TIME, WORKLOAD, Node, running_rundlet, serving_images, timed_ms
from benchmarks.pods import live_once
from rundlet.cri.proto import api_pb2 as api

RESULTS = Path(__file__).resolve().parent.parent / ".cache" / "bench" / "growth.json"
COUNTS = (10, 100, 200, 500)
IDLE = 200
LISTED = 1000
ROUNDS = 12
START_ROUNDS = 5
MEMORY_MIB = 60.0  # of everything but the workloads at the last count
LATENCY_RATIO = 1.5  # at the last count, to the first
IDLE_CPU = 0.01  # of one processor
_SETTLE_S = 2.0
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
PROGRAMS = ("rundlet", "rundletd", "rundlet-runtime")


class Growth(NamedTuple):
    """Medians in milliseconds by figure and number of pods (of containers for `lists_ms`); PSS in kB."""

    latency_ms: dict[str, dict[int, float]]
    lists_ms: dict[int, float]
    pss_kb: dict[int, int]
    idle_cpu: float
    startup_ms: dict[str, float]


def measure_growth(directory: str, idle_s: float) -> Growth:
    os.makedirs(directory)
    started = {f"{name} --version": measure_program(name) for name in PROGRAMS}
    latency: dict[str, dict[int, float]] = {}
    lists: dict[int, float] = {}
    pss: dict[int, int] = {}
    idle_cpu = 0.0
    with serving_images(directory) as images:
        begun_ns = time.perf_counter_ns()
        with running_rundlet(directory, images) as node:
            started["rundletd, to its first answer"] = (time.perf_counter_ns() - begun_ns) / 1e6
            node.pull()
            pods: list[tuple[str, str]] = []
            for count in COUNTS:
                start_pods(node, pods, count)
                for name, value in measure_latency(node, *pods[0]).items():
                    latency.setdefault(name, {})[count] = value
                lists[count] = measure_list(node)
                time.sleep(_SETTLE_S)
                pss[count] = sum(map(read_pss_kb, own_processes()))
                if count == IDLE:
                    idle_cpu = measure_idle(idle_s)
            lists[LISTED] = measure_full_list(node)
            with ThreadPoolExecutor(AT_A_TIME) as pool:
                list(pool.map(node.remove_pod, (pod_id for pod_id, _ in pods)))
    return Growth(latency, lists, pss, idle_cpu, started)


def measure_program(name: str) -> float:
    """From its start to its end, with nothing to do but to tell its version."""
    command = [os.path.join(os.path.dirname(sys.executable), name), "--version"]
    times = [
        timed_ms(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
        for _ in range(START_ROUNDS)
    ]
    return statistics.median(times)


def start_pods(node: Node, pods: list[tuple[str, str]], count: int) -> None:
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        pods += pool.map(node.run_pod, [f"pod-{number}" for number in range(len(pods), count)])


def measure_latency(node: Node, pod_id: str, container_id: str) -> dict[str, float]:
    call, runtime = node.client.call, node.runtime
    status = api.ContainerStatusRequest(container_id=container_id)
    pod_status = api.PodSandboxStatusRequest(pod_sandbox_id=pod_id)
    actions = {
        "Version": lambda: call(runtime.Version, api.VersionRequest()),
        "ContainerStatus": lambda: call(runtime.ContainerStatus, status),
        "PodSandboxStatus": lambda: call(runtime.PodSandboxStatus, pod_status),
        "ExecSync true": lambda: node.exec_true(container_id),
    }
    found = {
        name: statistics.median(timed_ms(action) for _ in range(ROUNDS)) for name, action in actions.items()
    }
    lives = [live_once(node, f"life-{time.time_ns()}") for _ in range(ROUNDS)]
    _, up, _, remove, life = (statistics.median(column) for column in zip(*lives, strict=True))
    return found | {"pod up": up, "stop + remove container": remove, "a pod's whole life": life}


def measure_list(node: Node) -> float:
    action = lambda: node.client.call(node.runtime.ListContainers, api.ListContainersRequest())  # noqa: E731
    return statistics.median(timed_ms(action) for _ in range(ROUNDS))


def measure_full_list(node: Node) -> float:
    """With LISTED containers: pods with ten more each, which stay behind the gate."""
    missing = LISTED - COUNTS[-1]
    pods = [node.run_sandbox(f"full-{number}") for number in range(missing // 10)]
    work = [(pod_id, config, f"c{number}") for pod_id, config in pods for number in range(10)]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda one: node.create_container(*one), work))
        found = measure_list(node)
        list(pool.map(node.remove_pod, (pod_id for pod_id, _ in pods)))
    return found


# --- processes ----------------------------------------------------------------


def own_processes() -> list[int]:
    """All of this node but its first, the benchmark and the workloads."""
    others = (1, os.getpid(), os.getppid())
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [
        pid for pid in pids if pid not in others and read_text(pid, "comm").strip() not in ("", *WORKLOAD)
    ]


def read_text(pid: int, file: str) -> str:
    try:
        with open(f"/proc/{pid}/{file}", encoding="utf-8", errors="replace") as opened:
            return opened.read()
    except OSError:
        return ""


def read_pss_kb(pid: int) -> int:
    lines = read_text(pid, "smaps_rollup").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def read_cpu_ms(pid: int) -> float:
    """User and system time (proc(5): fields 14 and 15 of stat)."""
    fields = read_text(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_MS if fields else 0.0


def measure_idle(seconds: float) -> float:
    """The part of one processor that daemon and keeper take while nobody asks for anything."""
    pids = own_processes()
    before = sum(map(read_cpu_ms, pids))
    time.sleep(seconds)
    return (sum(map(read_cpu_ms, pids)) - before) / 1e3 / seconds


# --- what is shown ------------------------------------------------------------


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


def show_growth(growth: Growth) -> None:
    first, last = COUNTS[0], COUNTS[-1]
    print(f"\n{'ms at so many pods':<28}" + "".join(f"{count:>9}" for count in COUNTS) + f"{'ratio':>9}")
    for name, by_count in growth.latency_ms.items():
        ratio = by_count[last] / by_count[first]
        row = "".join(f"{by_count[count]:9.2f}" for count in COUNTS)
        print(f"{name:<28}{row}{ratio:8.2f}x, at most {LATENCY_RATIO}: {verdict(ratio <= LATENCY_RATIO)}")
    lists = ", ".join(f"{count}: {value:.2f}" for count, value in growth.lists_ms.items())
    print(f"ListContainers, ms with so many containers: {lists}")
    memory = ", ".join(f"{count}: {kb / 1024:.1f}" for count, kb in growth.pss_kb.items())
    print(f"PSS of all but the workloads, MiB at so many pods: {memory}")
    used, each = growth.pss_kb[last] / 1024, (growth.pss_kb[last] - growth.pss_kb[first]) / (last - first)
    print(f"  {each:.1f} kB a pod; at most {MEMORY_MIB:g} MiB at {last} pods: {verdict(used <= MEMORY_MIB)}")
    print(f"idle with {IDLE} pods: {growth.idle_cpu:.2%} of a CPU: {verdict(growth.idle_cpu <= IDLE_CPU)}")
    print("start, ms: " + ", ".join(f"{name} {value:.0f}" for name, value in growth.startup_ms.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--idle-s", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rundlet-growth-") as directory:
        growth = measure_growth(f"{directory}/growth", options.idle_s)
    show_growth(growth)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(growth._asdict(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
