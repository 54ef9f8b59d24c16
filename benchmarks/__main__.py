"""`make bench`: the figures that rundlet is judged by, all in one run (some 5 minutes).

    python -m benchmarks [--rounds 30] [--warm-up 3]

Runs inside a throw-away node (root).  Prints medians and ratios, writes every
single time to .cache/bench/results.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.alone import Times
from benchmarks.copy import measure_copy, show_copy
from benchmarks.growth import Growth, measure_growth, show_growth
from benchmarks.keeper import Measured, measure_keeper, show_keeper
from benchmarks.pods import Pods, measure_pods, show_pods
from benchmarks.start import Starts, measure_starts
from benchmarks.unpack import measure_unpack, show_unpack

RESULTS = Path(__file__).resolve().parent.parent / ".cache" / "bench" / "results.json"
EXPECTED_RATIO = 4.0
IMAGE_ROUNDS = 2  # a round takes 20 s, most of it the peers'


def enter_node() -> None:
    """Be replaced by the same command inside a throw-away node."""
    # An installed rundlet has its modules compiled; a checkout has after the first run, unless forbidden.
    os.environ["PYTHONDONTWRITEBYTECODE"] = ""
    command = [sys.executable, "-m", "benchmarks", *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "rundlet.runtime.node", "--", *command])


def spread(times_ms: list[float]) -> str:
    low, _, high = statistics.quantiles(times_ms, n=4)
    return f"{statistics.median(times_ms):8.2f} {low:8.2f} {high:8.2f} {min(times_ms):8.2f}"


def show_starts(starts: Starts) -> None:
    ours = statistics.median(starts.times["rundlet"])
    print(f"{'create + start, ms':<24} {'median':>8} {'25 %':>8} {'75 %':>8} {'best':>8} {'to ours':>8}")
    for name, times_ms in starts.times.items():
        print(f"{name:<24} {spread(times_ms)} {statistics.median(times_ms) / ours:7.1f}x")
    medians = [statistics.median(part) for part in zip(*starts.parts, strict=True)]
    print("ours, medians: plan {:.2f}, create and start {:.2f}".format(*medians))
    if "runc" in starts.times:
        ratio = statistics.median(starts.times["runc"]) / ours
        print(
            f"against runc: {ratio:.1f}x, expected at least {EXPECTED_RATIO:.0f}x: {verdict(ratio >= EXPECTED_RATIO)}"
        )
    if {"runc", "rundlet-runtime"} <= starts.times.keys():
        ratio = statistics.median(starts.times["rundlet-runtime"]) / statistics.median(starts.times["runc"])
        print(
            f"cold, rundlet-runtime run: {ratio:.2f} of runc run, expected at most 1: {verdict(ratio <= 1)}"
        )


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


def write_results(
    starts: Starts,
    keeper: Measured,
    pods: dict[str, Pods],
    growth: Growth,
    images: dict[str, dict[str, Times]],
) -> None:
    host = os.uname()
    machine = {"kernel": host.release, "machine": host.machine, "cpus": os.cpu_count(),
               "python": platform.python_version()}  # fmt: skip
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    document = {"host": machine, "start_ms": starts.times, "our_parts_ms": starts.parts,
                "keeper": keeper._asdict(), "pods_ms": {name: one._asdict() for name, one in pods.items()},
                "growth": growth._asdict(), "images_s": images}  # fmt: skip
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"\nevery single time: {RESULTS}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--idle-s", type=float, default=10.0, help="how long an idle node is watched")
    options = parser.parse_args()
    if os.environ.get("RUNDLET_NODE") != "1":
        enter_node()
    with tempfile.TemporaryDirectory(prefix="rundlet-bench-") as directory:
        starts = measure_starts(f"{directory}/start", options.rounds, options.warm_up)
        show_starts(starts)
        keeper = measure_keeper(f"{directory}/keeper", options.rounds)
        show_keeper(keeper)
        pods = measure_pods(f"{directory}/pods", options.rounds, options.warm_up)
        show_pods(pods)
        growth = measure_growth(f"{directory}/growth", options.idle_s)
        show_growth(growth)
        unpacks = measure_unpack(f"{directory}/unpack", IMAGE_ROUNDS)
        show_unpack(unpacks)
        copies = measure_copy(f"{directory}/copy", IMAGE_ROUNDS)
        show_copy(copies)
    write_results(starts, keeper, pods, growth, {"unpack": unpacks, "copy": copies})


if __name__ == "__main__":
    main()
