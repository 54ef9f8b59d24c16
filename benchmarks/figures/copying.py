"""Copies beside skopeo, and how soon a local image is shown: whole processes."""

from functools import partial

from benchmarks.bench import BIN, Bench, Job, run, timed_ms, timed_s
from benchmarks.daemons import REGISTRY, running_registry
from benchmarks.figure import OURS, Aim, Figure, Party, Row
from benchmarks.images import make_large_image, make_layered_image, push
from rundlet.archive.tree import remove_tree
from rundlet.image.api import Host, copy_image
from rundlet.image.layout import Layout

SKOPEO, WARM = "skopeo", "rundlet.image.copy_image"
IMAGE = (f"{BIN}/rundlet", "image", "--insecure-policy")


def into(target: str, job: Job) -> float:
    """The layout that the job writes is removed off the clock."""
    elapsed_s = job()
    remove_tree(target)
    return elapsed_s


def measure_copy(bench: Bench, host: Host, source: str) -> None:
    target = f"{bench.directory}/target"
    words = ("copy", "-q", "--src-tls-verify=false", source, f"oci:{target}:1")
    jobs: dict[str, Job] = {
        OURS: bench.command(OURS, (*IMAGE, *words), timer=timed_s),
        SKOPEO: bench.command(SKOPEO, ("skopeo", "--insecure-policy", *words), timer=timed_s),
        WARM: lambda: timed_s(lambda: copy_image(host, source, f"oci:{target}:1")),
    }
    bench.tell(WARM, "copy_image(host, SOURCE, TARGET) in a Python that runs already")
    bench.turns("copy", {party: partial(into, target, job) for party, job in jobs.items()})


def measure(bench: Bench) -> None:
    directory = bench.directory
    layout = Layout(f"{directory}/layout")
    make_large_image(layout, "large")
    make_layered_image(layout, "small", 1)
    store = ("--root", f"{directory}/root", "--run-root", f"{directory}/run")
    with running_registry(directory) as address:
        source = f"{address}/bench/large:1"
        push(layout, "large", source)
        with Host(f"{directory}/root", f"{directory}/run", insecure_policy=True) as host:
            measure_copy(bench, host, f"docker://{source}")
    run(
        (
            *IMAGE,
            *store,
            "copy",
            "-q",
            f"oci:{directory}/layout:small",
            "containers-storage:localhost/small:1",
        )
    )
    inspects = {
        OURS: bench.command(OURS, (*IMAGE, *store, "inspect", "localhost/small:1"), timer=timed_ms),
        SKOPEO: bench.command(SKOPEO, ("skopeo", "inspect", f"oci:{directory}/layout:small"), timer=timed_ms),
    }
    bench.turns("inspect", inspects, rounds=4 * bench.rounds)


FIGURE = Figure(
    name="copy",
    title="Copy and inspect",
    what="118 MB of gzip in 5 layers from Debian's docker-registry on loopback into an empty OCI layout; and what a "
    "small local image is: in rundlet's store, for skopeo in a layout.",
    parties=(Party(OURS, REGISTRY), Party(SKOPEO, ("skopeo",)), Party(WARM)),
    rows=(
        Row("copy", "`copy docker://… oci:…`", unit="s"),
        Row("inspect", "`inspect` of a local image"),
    ),
    aims=(Aim("copy", 0.8, "issue 5", beside=SKOPEO), Aim("inspect", 120.0, "issue 5")),
    measure=measure,
    rounds=8,
    quick_rounds=3,
)
