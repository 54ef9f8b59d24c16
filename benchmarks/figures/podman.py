"""Containers of people, beside podman: whole processes."""

from benchmarks.bench import Bench, Job, timed_ms
from benchmarks.figure import Aim, Figure, Row
from benchmarks.people import IMAGE, NO_NETWORK, PARTIES, PODMAN, Engines, running_engines

LISTED = 50


def make_jobs(bench: Bench, engines: Engines, *words: str) -> dict[str, Job]:
    return {
        party: bench.command(party, (*program, *words), timer=timed_ms)
        for party, program in engines.programs.items()
    }


def measure(bench: Bench) -> None:
    with running_engines(bench) as engines:
        bench.turns("run", make_jobs(bench, engines, "run", "--rm", *NO_NETWORK, IMAGE, "true"), warm_up=2)
        for party in engines.programs:
            with bench.sparing(party):
                for number in range(LISTED):
                    engines.run_detached(party, f"c{number}", "sleep", "600")
        bench.turns("exec", make_jobs(bench, engines, "exec", "c0", "true"))
        bench.turns("ps", make_jobs(bench, engines, "ps"))
        bench.turns("inspect", make_jobs(bench, engines, "inspect", "c0"))


FIGURE = Figure(
    name="podman",
    title="The command line beside podman's",
    what="Whole processes, from the shell's point of view: a container run and removed, a command in a running one, a "
    f"list of {LISTED} running ones. Both have the same image of this machine's programs, without a network.",
    parties=PARTIES,
    rows=(
        Row("run", "`run --rm IMAGE true`"),
        Row("exec", "`exec CONTAINER true`"),
        Row("ps", f"`ps`, {LISTED} containers"),
        Row("inspect", "`inspect CONTAINER`"),
    ),
    aims=(
        Aim("run", 0.4, "issue 6", beside=PODMAN),
        Aim("exec", 0.4, "issue 6", beside=PODMAN),
        Aim("ps", 0.5, "issue 6", beside=PODMAN),
    ),
    measure=measure,
    rounds=20,
    quick_rounds=5,
)
