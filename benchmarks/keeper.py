"""The keeper beside runc: exec, many at once; and what only a keeper has: its memory, its log.

exec and the fleets take turns with runc's, like the starts.
"""

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from benchmarks.bundle import Bundle
from benchmarks.start import Engine, prepare
from rundlet.plan.container import CgroupPlan, ContainerPlan
from rundlet.plan.planner import plan_container, plan_process

BUSYBOX = "/bin/busybox"
FLEET, IN_FLIGHT, FLEET_ROUNDS = 100, 20, 3
IDLE = 100
LOG_ROUNDS = 3
_SETTLE_S = 3.0
_LINE_BYTES = 100
_LOG_BYTES = 300 << 20


class Measured(NamedTuple):
    """Milliseconds of each exec, containers a second of each fleet, kB, MB/s of each chatty container."""

    exec_ms: dict[str, list[float]]
    fleet_per_s: dict[str, list[float]]
    idle_pss_kb: int
    log_mb_per_s: list[float]


class Bench(NamedTuple):
    """The engine's side, and a bundle directory for each program that runc runs."""

    engine: Engine
    directory: str

    def plan(self, container_id: str, args: Sequence[str]) -> ContainerPlan:
        config, engine = self.engine.bundle.config, self.engine
        assert config.process is not None
        return plan_container(
            container_id, config.replace(process=config.process.replace(args=list(args))), engine.host,
            bundle=engine.bundle.directory, cgroup=CgroupPlan(f"/bench/{container_id}", engine.writes),
            seccomp=engine.seccomp,
        )  # fmt: skip

    def runc(self, *arguments: str) -> None:
        argv = ("runc", "--root", f"{self.directory}/runc", *arguments)
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def runc_bundle(self, name: str, args: Sequence[str]) -> str:
        ours = self.engine.bundle.directory
        with open(f"{ours}/config.json", "rb") as file:
            config: dict[str, Any] = json.load(file)
        config["process"]["args"] = list(args)
        config["root"]["path"] = f"{ours}/rootfs"
        os.makedirs(f"{self.directory}/{name}")
        with open(f"{self.directory}/{name}/config.json", "w", encoding="utf-8") as file:
            json.dump(config, file)
        return f"{self.directory}/{name}"


def timed_ms(action: Callable[[], object]) -> float:
    begun_ns = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - begun_ns) / 1e6


def measure_exec(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """From the call to the end of `busybox true`, in a container that sleeps."""
    keeper, host = bench.engine.keeper, bench.engine.host
    keeper.run(bench.plan("exec", (BUSYBOX, "sleep", "1000")))
    config = bench.engine.bundle.config.process
    assert config is not None
    process = plan_process(config.replace(args=[BUSYBOX, "true"]), host, seccomp=bench.engine.seccomp)

    def ours() -> None:
        handle = keeper.exec("exec", process)
        handle.wait()
        handle.close()

    actions: dict[str, Callable[[], None]] = {"rundlet": ours}
    if shutil.which("runc"):
        bundle = bench.runc_bundle("exec", (BUSYBOX, "sleep", "1000"))
        bench.runc("run", "--detach", "--bundle", bundle, "bench-exec")
        actions["runc"] = lambda: bench.runc("exec", "bench-exec", BUSYBOX, "true")
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(timed_ms(action))
    if "runc" in actions:
        bench.runc("delete", "--force", "bench-exec")
    keeper.delete("exec")
    return times


def measure_fleets(bench: Bench) -> dict[str, list[float]]:
    """Containers of `busybox true`, run, waited for and deleted, a second."""
    keeper = bench.engine.keeper

    def ours(number: int) -> None:
        name = f"fleet-{number}"
        keeper.run(bench.plan(name, (BUSYBOX, "true")))
        keeper.wait(name)
        keeper.delete(name)

    actions: dict[str, Callable[[int], None]] = {"rundlet": ours}
    if shutil.which("runc"):
        bundle = bench.runc_bundle("fleet", (BUSYBOX, "true"))
        actions["runc"] = lambda number: bench.runc("run", "--bundle", bundle, f"bench-fleet-{number}")
    rates: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(FLEET_ROUNDS):
        for name, action in actions.items():
            with ThreadPoolExecutor(IN_FLIGHT) as pool:
                elapsed_ms = timed_ms(lambda pool=pool, action=action: list(pool.map(action, range(FLEET))))  # type: ignore[misc]
            rates[name].append(FLEET / elapsed_ms * 1e3)
    return rates


def measure_memory(bench: Bench) -> int:
    """PSS of anchor and supervisor in kB, with IDLE containers that log to a file."""
    keeper = bench.engine.keeper
    names = [f"idle-{number}" for number in range(IDLE)]
    for name in names:
        keeper.run(bench.plan(name, (BUSYBOX, "sleep", "1000")), log_path=f"{bench.directory}/logs/{name}")
    answer = keeper.call("version", {}).message
    time.sleep(_SETTLE_S)
    used_kb = sum(read_pss_kb(answer[role]) for role in ("anchor", "pid"))
    for name in names:
        keeper.delete(name)
    return used_kb


def read_pss_kb(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def measure_log(bench: Bench) -> list[float]:
    """One container that writes lines of 100 bytes as fast as it can, until all is in its log file."""
    keeper = bench.engine.keeper
    with open(f"{bench.engine.bundle.directory}/rootfs/lines", "wb") as file:
        file.write((b"x" * (_LINE_BYTES - 1) + b"\n") * (_LOG_BYTES // 10 // _LINE_BYTES))
    script = f"for i in 0 1 2 3 4 5 6 7 8 9; do {BUSYBOX} cat /lines; done"
    log, rates = f"{bench.directory}/log", []
    for _ in range(LOG_ROUNDS):
        keeper.create(bench.plan("chatty", (BUSYBOX, "sh", "-c", script)), log_path=log)
        elapsed_ms = timed_ms(lambda: (keeper.start("chatty"), keeper.wait("chatty")))
        rates.append(_LOG_BYTES / 1e6 / (elapsed_ms / 1e3))
        keeper.delete("chatty")
        os.unlink(log)
    return rates


def measure_keeper(directory: str, rounds: int) -> Measured:
    os.makedirs(directory)
    bundle = Bundle(f"{directory}/bundle")
    bench = Bench(prepare(bundle, directory), directory)
    memory = measure_memory(bench)
    measured = Measured(measure_exec(bench, rounds), measure_fleets(bench), memory, measure_log(bench))
    bench.engine.keeper.close()
    bundle.close()
    return measured


def show_keeper(measured: Measured) -> None:
    """Medians, and the ratios to runc where it is there."""
    exec_ms = {name: statistics.median(times) for name, times in measured.exec_ms.items()}
    per_s = {name: statistics.median(rates) for name, rates in measured.fleet_per_s.items()}
    print("\nexec of true, ms:        ", ", ".join(f"{name} {value:.2f}" for name, value in exec_ms.items()))
    if "runc" in exec_ms:
        show("ratio", exec_ms["rundlet"] / exec_ms["runc"], "at most", 0.25, "x")
    print(
        f"{FLEET} containers, {IN_FLIGHT} in flight, a second:",
        ", ".join(f"{name} {value:.0f}" for name, value in per_s.items()),
    )
    if "runc" in per_s:
        show("ratio", per_s["rundlet"] / per_s["runc"], "at least", 4.0, "x")
    show(f"keeper's PSS with {IDLE} idle containers", measured.idle_pss_kb / 1e3, "at most", 12.0, " MB")
    show("one chatty container's log", statistics.median(measured.log_mb_per_s), "at least", 150.0, " MB/s")


def show(what: str, value: float, relation: str, expected: float, unit: str) -> None:
    reached = value <= expected if relation == "at most" else value >= expected
    print(
        f"{what}: {value:.2f}{unit}, expected {relation} {expected:g}{unit}: {'reached' if reached else 'MISSED'}"
    )
