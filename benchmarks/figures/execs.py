"""Exec into a running container, and many containers at once: the keeper beside runc and crun."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from benchmarks.bench import Bench, Job, run, timed_ms, timed_s
from benchmarks.bundle import making_bundle
from benchmarks.figure import OURS, Aim, Figure, Party, Row
from benchmarks.keeper import HOW, WAIT_S, Engine, running_keeper

BUSYBOX = "/bin/busybox"
SLEEP, TRUE = (BUSYBOX, "sleep", "1000"), (BUSYBOX, "true")
CROWD, IN_FLIGHT, CROWD_ROUNDS = 100, 20, 3
PEERS = ("runc", "crun")


def measure_exec(bench: Bench, engine: Engine) -> None:
    """From the call to the end of `busybox true`, in a container that sleeps."""
    keeper = engine.keeper
    keeper.run(engine.plan("exec", SLEEP))
    process = engine.plan_exec(TRUE)

    def ours() -> None:
        handle = keeper.exec("exec", process)
        handle.wait()
        handle.close()

    jobs: dict[str, Job] = {OURS: lambda: timed_ms(ours)}
    bundle = engine.bundle.write_variant("exec", args=SLEEP)
    peers = [party for party in PEERS if bench.has(party)]
    for party in peers:
        with bench.sparing(party):
            run((*program(bench, party), "run", "--detach", "--bundle", bundle, "bench-exec"), piped=False)
        jobs[party] = bench.command(
            party, (*program(bench, party), "exec", "bench-exec", *TRUE), timer=timed_ms
        )
    bench.turns("exec", jobs)
    for party in peers:
        with bench.sparing(party):
            run((*program(bench, party), "delete", "--force", "bench-exec"))
    keeper.delete("exec")


def program(bench: Bench, party: str) -> tuple[str, ...]:
    return (party, "--root", f"{bench.directory}/state-{party}")


def crowd_rate(one: Callable[[int], object]) -> float:
    """Containers a second: CROWD run, waited for and deleted, IN_FLIGHT at once."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        return CROWD / timed_s(lambda: list(pool.map(one, range(CROWD))))


def measure_crowd(bench: Bench, engine: Engine) -> None:
    bundle = engine.bundle.write_variant("crowd", args=TRUE)
    jobs: dict[str, Job] = {
        OURS: lambda: crowd_rate(lambda number: engine.run_to_end(f"crowd-{number}", TRUE)),
    }
    for party in PEERS:
        argv = (*program(bench, party), "run", "--bundle", bundle)
        bench.tell(party, (*argv, "NAME"))
        jobs[party] = partial(crowd_rate, partial(run_peer, argv))
    bench.turns("crowd", jobs, rounds=1 if bench.quick else CROWD_ROUNDS, warm_up=0)


def run_peer(argv: Sequence[str], number: int) -> None:
    run((*argv, f"bench-crowd-{number}"), timeout_s=WAIT_S)


def measure(bench: Bench) -> None:
    with (
        making_bundle(f"{bench.directory}/bundle") as bundle,
        running_keeper(bundle, bench.directory) as engine,
    ):
        bench.tell(OURS, HOW)
        measure_exec(bench, engine)
        measure_crowd(bench, engine)


FIGURE = Figure(
    name="exec",
    title="OCI exec and crowds",
    what="`busybox true` in a running container, from the call to its end; and how many containers of `busybox true` "
    f"are run, waited for and deleted a second, {CROWD} of them with {IN_FLIGHT} in flight.",
    parties=(Party(OURS), Party("runc", ("runc",)), Party("crun", ("crun",))),
    rows=(
        Row("exec", "exec of true"),
        Row("crowd", f"containers a second, {IN_FLIGHT} in flight", unit="per s", more_is_better=True),
    ),
    aims=(
        Aim("exec", 0.25, "issue 3", beside="runc"),
        Aim("crowd", 4.0, "issue 3", beside="runc", at_least=True),
    ),
    measure=measure,
    rounds=30,
)
