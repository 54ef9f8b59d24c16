"""OCI start: from "create" to the first instruction of the container's program.

Ours goes through the keeper, warm: plan the configuration, then create and start
in one request, as `run` is one command of the others.  The others are `runc run`, `crun run` and, cold, our own `rundlet-runtime run` on the
same bundle.  They take turns, so that whatever else the machine does hits all of
them alike.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

from benchmarks.bundle import Bundle
from rundlet.cgroup.layout import detect_layout
from rundlet.keeper.client import Keeper
from rundlet.kernel.capability import NUMBERS
from rundlet.plan.container import CgroupPlan
from rundlet.plan.planner import Filter, Host, plan_container
from rundlet.plan.resources import plan_resources
from rundlet.plan.seccomp_cache import load_program

PEERS = ("runc", "crun", "rundlet-runtime")
_WAIT_S = 30.0

Starter = Callable[[str], float]


class Parts(NamedTuple):
    """Where our time goes, in milliseconds: to plan, to run until the first instruction."""

    plan_ms: float
    run_ms: float


class Engine(NamedTuple):
    """What is ready before the first start: a keeper, the compiled filter, the resource writes."""

    keeper: Keeper
    bundle: Bundle
    host: Host
    seccomp: Filter
    writes: tuple[tuple[str, str, str], ...]
    parts: list[Parts]


def prepare(bundle: Bundle, directory: str) -> Engine:
    linux = bundle.config.linux
    assert linux is not None
    assert linux.seccomp is not None
    assert linux.resources is not None
    program = load_program(linux.seccomp, f"{directory}/seccomp")
    version: Literal[1, 2] = 1 if detect_layout().version == 1 else 2
    return Engine(
        keeper=Keeper(f"{directory}/run"),
        bundle=bundle,
        host=Host(capabilities=sum(1 << number for number in NUMBERS.values())),
        seccomp=Filter(program.filter, program.flags),
        writes=plan_resources(linux.resources, version),
        parts=[],
    )


def start_ours(engine: Engine, container_id: str) -> float:
    """Milliseconds to the first instruction; the container is waited for and deleted off the clock."""
    clock = time.perf_counter_ns
    begun_ns = clock()
    plan = plan_container(
        container_id, engine.bundle.config, engine.host, bundle=engine.bundle.directory,
        cgroup=CgroupPlan(f"/bench/{container_id}", engine.writes), seccomp=engine.seccomp,
    )  # fmt: skip
    planned_ns = clock()
    engine.keeper.run(plan)
    engine.bundle.await_first_instruction()
    started_ns = clock()
    engine.keeper.wait(container_id, _WAIT_S)
    engine.keeper.delete(container_id)
    moments_ns = (begun_ns, planned_ns, started_ns)
    engine.parts.append(Parts(*((later - earlier) / 1e6 for earlier, later in pairwise(moments_ns))))
    return (started_ns - begun_ns) / 1e6


def start_peer(program: str, bundle: Bundle, state: str, container_id: str) -> float:
    argv = (program, "--root", state, "run", "--bundle", bundle.directory, container_id)
    started_ns = time.perf_counter_ns()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        bundle.await_first_instruction()
        elapsed_ms = (time.perf_counter_ns() - started_ns) / 1e6
        if process.wait(_WAIT_S) != 0:
            raise RuntimeError(f"{program} run ended with {process.returncode}")
    return elapsed_ms


def starters(bundle: Bundle, engine: Engine, directory: str) -> dict[str, Starter]:
    """Who takes part, by name; what the host lacks is left out and said so."""
    found: dict[str, Starter] = {"rundlet": lambda name: start_ours(engine, name)}
    for program in PEERS:
        path = shutil.which(program, path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
        if path is None:
            print(f"{program} is not on this host: left out")
            continue
        found[program] = lambda name, program=program, path=path: start_peer(
            path, bundle, f"{directory}/{program}", name
        )  # type: ignore[misc]
    return found


class Starts(NamedTuple):
    """Milliseconds of every start by runtime, and the parts of ours."""

    times: dict[str, list[float]]
    parts: list[Parts]


def measure_starts(directory: str, rounds: int, warm_up: int) -> Starts:
    os.makedirs(directory)
    bundle = Bundle(f"{directory}/bundle")
    engine = prepare(bundle, directory)
    taking_part = starters(bundle, engine, directory)
    times: dict[str, list[float]] = {name: [] for name in taking_part}
    for number in range(-warm_up, rounds):
        for name, start in taking_part.items():
            elapsed_ms = start(f"bench-{name}-{number + warm_up}")
            if number >= 0:
                times[name].append(elapsed_ms)
    engine.keeper.close()
    bundle.close()
    return Starts(times, engine.parts[warm_up:])
