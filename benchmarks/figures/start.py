"""OCI start: from nothing to the first instruction of the container's program."""

import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial

from benchmarks.bench import BIN, Bench, Job, timed_ms
from benchmarks.bundle import Bundle, making_bundle
from benchmarks.figure import OURS, Aim, Figure, Party, Row
from benchmarks.keeper import HOW, WAIT_S, Engine, running_keeper

COLD, BARE = "rundlet-runtime", "crun, no seccomp"
WARM_UP = 3


class Names:
    """Container ids, each once."""

    def __init__(self) -> None:
        self.count = 0

    def take(self) -> str:
        self.count += 1
        return f"bench-{self.count}"


def start_ours(engine: Engine, names: Names) -> float:
    """Milliseconds to the first instruction; the container is waited for and deleted off the clock."""
    container_id = names.take()

    def start() -> None:
        engine.keeper.run(engine.plan(container_id))
        engine.bundle.await_first_instruction()

    elapsed_ms = timed_ms(start)
    engine.keeper.wait(container_id, WAIT_S)
    engine.keeper.delete(container_id)
    return elapsed_ms


def start_peer(argv: Sequence[str], bundle: Bundle, names: Names) -> float:
    begun_ns = time.perf_counter_ns()
    with subprocess.Popen(
        [*argv, names.take()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        bundle.await_first_instruction()
        elapsed_ms = (time.perf_counter_ns() - begun_ns) / 1e6
        if process.wait(WAIT_S):
            raise RuntimeError(f"{argv[0]} run ended with {process.returncode}")
    return elapsed_ms


def measure(bench: Bench) -> None:
    names = Names()
    with (
        making_bundle(f"{bench.directory}/bundle") as bundle,
        running_keeper(bundle, bench.directory) as engine,
    ):
        jobs: dict[str, Job] = {OURS: lambda: start_ours(engine, names)}
        bench.tell(OURS, HOW)
        bare = bundle.write_variant("bare", seccomp=False)
        programs = ((COLD, f"{BIN}/rundlet-runtime", bundle.directory), ("runc", "runc", bundle.directory),
                    ("crun", "crun", bundle.directory), (BARE, "crun", bare))  # fmt: skip
        for party, program, directory in programs:
            argv = (
                program,
                "--root",
                f"{bench.directory}/state-{os.path.basename(program)}",
                "run",
                "--bundle",
                directory,
            )
            bench.tell(party, (*argv, "NAME"))
            jobs[party] = partial(start_peer, argv, bundle, names)
        bench.turns("start", jobs, warm_up=WARM_UP)


FIGURE = Figure(
    name="start",
    title="OCI start",
    what="From the call to the first instruction of the container's program (it writes a byte into a FIFO), on one "
    "bundle with the default seccomp profile, capabilities, masked paths and limits. rundlet goes through a keeper that "
    "runs already, as an engine does; `rundlet-runtime` is the same from a fresh process. crun is there once more "
    "without seccomp, as rundlet keeps the compiled filter and crun compiles it each time.",
    parties=(
        Party(OURS),
        Party(COLD),
        Party("runc", ("runc",)),
        Party("crun", ("crun",)),
        Party(BARE, ("crun",)),
    ),
    rows=(Row("start", "create and start to the first instruction"),),
    aims=(
        Aim("start", 0.15, "issue 7", beside="runc"),
        Aim("start", 0.45, "issue 7", beside=BARE),
        Aim("start", 1.0, "issue 3", beside="runc", party=COLD),
    ),
    measure=measure,
    rounds=40,
    quick_rounds=10,
)
