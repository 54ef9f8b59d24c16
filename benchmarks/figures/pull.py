"""Pull and unpack of a large image."""

import shutil

from benchmarks.bench import BIN, Bench, Job, run, timed_s
from benchmarks.figure import OURS, Aim, Figure, Party, Row
from benchmarks.images import make_large_image, push
from benchmarks.imagework import PULLING, pull_job, pulling
from benchmarks.node import CONTAINERD
from benchmarks.people import PODMAN, PODMAN_PLACE
from rundlet.image.layout import Layout


def program_job(
    bench: Bench, party: str, program: tuple[str, ...], words: tuple[str, ...], reference: str
) -> Job:
    """Seconds of a whole process that pulls; the image is removed off the clock."""
    job = bench.command(party, (*program, *words, reference), timer=timed_s)

    def pull() -> float:
        elapsed_s = job()
        run((*program, "rmi", "-f", reference))
        return elapsed_s

    return pull


def measure(bench: Bench) -> None:
    layout = Layout(f"{bench.directory}/large")
    make_large_image(layout, "large")
    with pulling(bench) as (address, nodes):
        reference = f"{address}/bench/large:1"
        push(layout, "large", reference)
        shutil.rmtree(f"{bench.directory}/large")
        bench.turns(
            "daemon", {party: pull_job(bench, party, node, reference) for party, node in nodes.items()}
        )
        place = ("--root", f"{bench.directory}/podman", "--runroot", f"{bench.directory}/podman-run")
        ours = (f"{BIN}/rundlet",)
        programs = {
            OURS: program_job(bench, OURS, ours, ("pull", "-q", "--tls-verify=false"), reference),
            PODMAN: program_job(
                bench,
                PODMAN,
                ("podman", *place, *PODMAN_PLACE),
                ("pull", "-q", "--tls-verify=false"),
                reference,
            ),
        }
        bench.turns("program", programs)


FIGURE = Figure(
    name="pull",
    title="Pull and unpack",
    what="118 MB of gzip in 5 layers, this machine's own files, from Debian's docker-registry on loopback into an empty "
    "store on tmpfs: by a daemon that runs already, and by a whole process.",
    parties=(*PULLING, Party(PODMAN, ("podman", "docker-registry"))),
    rows=(
        Row("daemon", "PullImage over CRI", unit="s"),
        Row("program", "`pull`", unit="s"),
    ),
    aims=(Aim("daemon", 0.5, "issue 5", beside=CONTAINERD),),
    measure=measure,
    rounds=5,
    quick_rounds=2,
)
