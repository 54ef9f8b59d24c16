"""The Python API and sandboxes, in a process that has them imported and warm."""

import time
from pathlib import Path

from benchmarks.bench import Bench, timed_ms, timed_s
from benchmarks.figure import OURS, Aim, Figure, Row
from benchmarks.people import IMAGE, PARTIES, PODMAN, running_engines
from rundlet.api.client import Client
from rundlet.sandbox.pool import SandboxPool
from rundlet.sandbox.sandbox import Sandbox

TRUE = ["true"]
CROWD = 100
POOL = 4
_END_S = 10.0


def run_once(client: Client, network: str = "") -> float:
    """Milliseconds to the end of `true`; what it left is removed off the clock."""
    words = {"network": network} if network else {}
    begun_ns = time.perf_counter_ns()
    container = client.run(IMAGE, TRUE, **words)  # type: ignore[arg-type]
    code = container.wait(_END_S)
    elapsed_ms = (time.perf_counter_ns() - begun_ns) / 1e6
    container.remove()
    if code:
        raise RuntimeError(f"true ended with {code}")
    return elapsed_ms


def measure_runs(bench: Bench, client: Client, podman: tuple[str, ...]) -> None:
    """podman has no library of its own in Python: its command line is what a program would call."""
    peer = (*podman, "run", "--rm", IMAGE, "true")
    quiet = (*podman, "run", "--rm", "--network", "none", IMAGE, "true")
    bench.tell(
        OURS, 'rundlet.run(IMAGE, ["true"]).wait(); with network="none"; SandboxPool.take(); Sandbox(IMAGE)'
    )
    jobs = {OURS: lambda: run_once(client), PODMAN: bench.command(PODMAN, peer, timer=timed_ms)}
    bench.turns("run", jobs, warm_up=2)
    jobs = {OURS: lambda: run_once(client, "none"), PODMAN: bench.command(PODMAN, quiet, timer=timed_ms)}
    bench.turns("quiet", jobs, warm_up=2)


def measure_pool(bench: Bench, client: Client) -> None:
    with SandboxPool(IMAGE, size=POOL, machine=client.machine) as pool:

        def take() -> float:
            pool.wait_ready()
            begun_ns = time.perf_counter_ns()
            taken = pool.take()
            taken.box.run(TRUE)
            elapsed_ms = (time.perf_counter_ns() - begun_ns) / 1e6
            pool.give_back(taken.box)
            return elapsed_ms

        bench.turns("take", {OURS: take})


def measure_sandbox(bench: Bench, client: Client) -> None:
    with Sandbox(IMAGE, machine=client.machine) as box:
        bench.turns("call", {OURS: lambda: timed_ms(lambda: box.run(TRUE))})

    def make() -> float:
        begun_ns = time.perf_counter_ns()
        with Sandbox(IMAGE, machine=client.machine):
            return (time.perf_counter_ns() - begun_ns) / 1e6

    bench.turns("make", {OURS: make})


def measure_crowd(bench: Bench, client: Client) -> None:
    """One after the other from one thread; all are there at once in between."""
    boxes: list[Sandbox] = []
    before = read_available_mib()
    try:
        making_s = timed_s(lambda: boxes.extend(Sandbox(IMAGE, machine=client.machine) for _ in range(CROWD)))
        calling_s = timed_s(lambda: [box.run(TRUE) for box in boxes])
        bench.add("crowd_memory", OURS, (before - read_available_mib()) / CROWD)
    finally:
        closing_s = timed_s(lambda: close_all(boxes))
    for row, elapsed_s in (("crowd_make", making_s), ("crowd_call", calling_s), ("crowd_close", closing_s)):
        bench.add(row, OURS, elapsed_s)


def close_all(boxes: list[Sandbox]) -> None:
    for box in boxes:
        box.close()


def read_available_mib() -> float:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024


def measure(bench: Bench) -> None:
    with running_engines(bench) as engines, Client() as client:
        measure_runs(bench, client, tuple(engines.programs.get(PODMAN, ())))
        measure_pool(bench, client)
        measure_sandbox(bench, client)
        measure_crowd(bench, client)


FIGURE = Figure(
    name="api",
    title="From Python: containers and sandboxes",
    what="A Python that has rundlet imported: a container run until its end, with the default network and without one, "
    "beside podman's command line, which is what a program would call; a sandbox taken from a pool that has been filled, "
    f"with a call in it; a call in a sandbox that is held; a new sandbox; and {CROWD} sandboxes at once.",
    parties=PARTIES,
    rows=(
        Row("run", '`rundlet.run(IMAGE, ["true"])` to its end'),
        Row("quiet", "the same without a network"),
        Row("take", "a sandbox from the pool, and one call"),
        Row("call", "a call in a sandbox"),
        Row("make", "a sandbox without a pool"),
        Row("crowd_make", f"{CROWD} sandboxes made", unit="s"),
        Row("crowd_call", f"a call in each of {CROWD}", unit="s"),
        Row("crowd_close", f"{CROWD} sandboxes closed", unit="s"),
        Row("crowd_memory", f"memory that each of {CROWD} sandboxes takes", unit="MiB"),
    ),
    aims=(
        Aim("run", 25.0, "issue 6"),
        Aim("take", 10.0, "issue 6"),
        Aim("crowd_memory", 245.0, "issue 6"),
    ),
    measure=measure,
    rounds=20,
    quick_rounds=5,
)
