"""The Python API and sandboxes, in a process that has them imported and warm.

    python -m benchmarks.api [--rounds 20]      inside a throw-away node (root), some 30 seconds

    run        `rundlet.run(IMAGE, ["true"])` until it has exited, with the default network
    quiet      the same with `network="none"`
    remove     of what `run` left
    take       `SandboxPool.take`, one call and its answer, of a pool that has been filled
    call       one call in a sandbox that is held
    make       a sandbox without a pool, until it can be called
    crowd      `CROWD` sandboxes: made, a call in each, closed; seconds of each part

Two directories are measured: on a tmpfs, and on the disk where /var/tmp is.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.alone import Times, run_alone
from benchmarks.unpack import time_s
from rundlet.api.client import Client
from rundlet.engine.settings import Settings
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.image.push import push_image
from rundlet.kernel.mount import mount, umount
from rundlet.local.settings import MachineSettings, Places
from rundlet.registry.client import RegistryClient
from rundlet.registry.server import RegistryServer
from rundlet.sandbox.pool import SandboxPool
from rundlet.sandbox.sandbox import Sandbox

RUN_MS, CALL_MS = 25.0, 10.0
CROWD = 100
POOL = 4
DISK = "/var/tmp"
CONTAINER_END_S = 10.0


def open_client(directory: str) -> Client:
    places = Places(f"{directory}/root", f"{directory}/run", f"{directory}/config")
    settings = Settings(
        root=places.root,
        run_root=places.run_root,
        networks_dir=f"{places.config_dir}/networks",
        cni_cache_dir=f"{directory}/cni",
        default_cgroup_parent="/bench-api",
    )
    return Client(settings=MachineSettings(places, settings))


def load_image(directory: str, client: Client) -> str:
    """This machine's `true` and what it needs, pulled from a registry on loopback."""
    layout = Layout(f"{directory}/layout")
    build_host_image(["true", "sleep"], layout, "tools")
    registry = RegistryServer(f"{directory}/registry")
    registry.start()
    pusher = RegistryClient()
    try:
        image = f"{registry.address}/tools:1"
        push_image(layout, "tools", pusher, image)
        return client.images.pull(image).names[0]
    finally:
        pusher.close()
        registry.stop()


def repeat(rounds: int, job: Callable[[], float]) -> list[float]:
    """Seconds of every round; the first two warm up."""
    return [job() for _ in range(rounds + 2)][2:]


def measure_runs(client: Client, image: str, rounds: int) -> Times:
    removals: list[float] = []

    def run(network: str) -> float:
        words = {"network": network} if network else {}
        started_s = time.perf_counter()
        container = client.run(image, ["true"], **words)  # type: ignore[arg-type]
        assert container.wait(CONTAINER_END_S) == 0
        elapsed_s = time.perf_counter() - started_s
        removals.append(time_s(container.remove))
        return elapsed_s

    return {
        "run": repeat(rounds, lambda: run("")),
        "quiet": repeat(rounds, lambda: run("none")),
        "remove": removals,
    }


def measure_sandboxes(client: Client, image: str, rounds: int) -> Times:
    times: Times = {}
    with SandboxPool(image, size=POOL, machine=client.machine) as pool:

        def take() -> float:
            pool.wait_ready()
            started_s = time.perf_counter()
            taken = pool.take()
            taken.box.run(["true"])
            elapsed_s = time.perf_counter() - started_s
            pool.give_back(taken.box)
            return elapsed_s

        times["take"] = repeat(rounds, take)
    with Sandbox(image, machine=client.machine) as box:
        times["call"] = repeat(rounds, lambda: time_s(lambda: box.run(["true"])))

    def make() -> float:
        started_s = time.perf_counter()
        with Sandbox(image, machine=client.machine):
            return time.perf_counter() - started_s

    times["make"] = repeat(rounds, make)
    return times


def measure_crowd(client: Client, image: str) -> Times:
    """Seconds to make all, to call each and to close all; MiB that this machine has less of while they are there."""
    before = read_available_mib()
    boxes: list[Sandbox] = []
    try:
        making = time_s(lambda: boxes.extend(Sandbox(image, machine=client.machine) for _ in range(CROWD)))
        calling = time_s(lambda: [box.run(["true"]) for box in boxes])
        used = before - read_available_mib()
    finally:
        closing = time_s(lambda: close_all(boxes))
    assert not client.machine.engine.pods.list()
    return {"crowd": [making, calling, closing], "crowd MiB": [used]}


def close_all(boxes: list[Sandbox]) -> None:
    for box in boxes:
        box.close()


def read_available_mib() -> float:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line)
    return int(line.split()[1]) / 1024


def measure_place(directory: str, rounds: int) -> Times:
    with open_client(directory) as client:
        image = load_image(directory, client)
        times = measure_runs(client, image, rounds)
        times |= measure_sandboxes(client, image, rounds)
        return times | measure_crowd(client, image)


def measure_api(directory: str, rounds: int) -> dict[str, Times]:
    os.makedirs(directory, exist_ok=True)
    mount("tmpfs", directory, "tmpfs")
    disk = tempfile.mkdtemp(prefix="rundlet-bench-", dir=DISK)
    try:
        return {"tmpfs": measure_place(directory, rounds), "disk": measure_place(disk, rounds)}
    finally:
        umount(directory, 2)  # MNT_DETACH: the keeper's own mounts are below
        shutil.rmtree(disk, ignore_errors=True)


def show_api(times: dict[str, Times]) -> None:
    print(f"\n{'Python API, ms':<26} {'median':>8} {'p95':>8} {'best':>8}")
    for place, jobs in times.items():
        for name in ("run", "quiet", "remove", "take", "call", "make"):
            print(f"{name + ' on ' + place:<26} {show_spread(jobs[name])}")
        for name, limit_ms in (("run", RUN_MS), ("take", CALL_MS), ("call", CALL_MS)):
            found_ms = statistics.median(jobs[name]) * 1e3
            verdict = "reached" if found_ms <= limit_ms else "MISSED"
            print(f"{name} on {place}: {found_ms:.1f} ms, expected at most {limit_ms:.0f}: {verdict}")
        making, calling, closing = jobs["crowd"]
        print(
            f"{CROWD} sandboxes on {place}: made in {making:.2f} s, called in {calling:.2f} s,"
            f" closed in {closing:.2f} s, {jobs['crowd MiB'][0]:.0f} MiB\n"
        )


def show_spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(len(ordered) * 0.95))]
    return f"{statistics.median(ordered) * 1e3:8.1f} {p95 * 1e3:8.1f} {ordered[0] * 1e3:8.1f}"


if __name__ == "__main__":
    run_alone("api", __doc__, measure_api, show_api)
