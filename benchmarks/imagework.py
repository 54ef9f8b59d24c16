"""Images pulled by daemons and unpacked by programs: the jobs of the figures about images.

All pull from Debian's docker-registry on loopback; everything lies on one tmpfs.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from benchmarks.bench import BIN, Bench, Job, run, timed_s
from benchmarks.daemons import CONTAINERD_CRI, REGISTRY, containerd_socket, running_registry
from benchmarks.figure import OURS, Party
from benchmarks.images import push
from benchmarks.node import CONTAINERD, Node, running_nodes
from rundlet.archive.tree import remove_tree
from rundlet.image.layout import Layout

UMOCI = "umoci"
PULLING = (Party(OURS, REGISTRY), Party(CONTAINERD, (*CONTAINERD_CRI, *REGISTRY)))
UNPACKING = Party(UMOCI, ("umoci",))
Make = Callable[[Layout, str], None]


def pull_job(bench: Bench, party: str, node: Node, reference: str) -> Job:
    """Seconds of PullImage; the image is removed off the clock, and its content with it."""
    bench.tell(party, "PullImage over CRI, into a store that has none of it")

    def pull() -> float:
        elapsed_s = timed_s(lambda: node.pull(reference))
        if party == CONTAINERD:
            forget_in_containerd(reference)
        else:
            node.remove_image(reference)
        return elapsed_s

    return pull


def forget_in_containerd(reference: str) -> None:
    """All its names in the CRI's namespace; --sync waits until the content is collected."""
    ctr = ("ctr", "--address", containerd_socket(), "--namespace", "k8s.io", "images")
    name, digest = reference.rpartition(":")[0], ""
    for line in run((*ctr, "ls")).splitlines()[1:]:
        if line.startswith((f"{name}:", f"{name}@")):
            digest = line.split()[2]
    names = [line.split()[0] for line in run((*ctr, "ls")).splitlines()[1:] if digest and digest in line]
    run((*ctr, "rm", "--sync", *names))


def unpack_jobs(bench: Bench, image: str) -> dict[str, Job]:
    """Seconds of a whole process that makes a bundle of the layout's image."""
    bundle = f"{bench.directory}/bundle"
    commands = {
        OURS: (f"{BIN}/rundlet", "image", "unpack", "--image", image, bundle),
        UMOCI: ("umoci", "unpack", "--image", image, bundle),
    }

    def unpack(job: Job) -> float:
        elapsed_s = job()
        remove_tree(bundle)
        return elapsed_s

    return {
        party: partial(unpack, bench.command(party, argv, timer=timed_s))
        for party, argv in commands.items()
        if bench.has(party)
    }


@contextmanager
def pulling(bench: Bench) -> Iterator[tuple[str, dict[str, Node]]]:
    """The registry's address, and the runtimes by party."""
    with running_registry(bench.directory) as address, running_nodes(bench) as nodes:
        yield address, nodes


def measure_sizes(bench: Bench, what: str, makers: Mapping[int, Make], rounds: Mapping[int, int]) -> None:
    """Rows `pull` and `unpack`: each size's image is made, measured and removed before the next one."""
    with pulling(bench) as (address, nodes):
        for size, make in makers.items():
            layout = Layout(f"{bench.directory}/images")
            make(layout, "made")
            reference = f"{address}/bench/{what}-{size}:1"
            push(layout, "made", reference)
            pulls = {party: pull_job(bench, party, node, reference) for party, node in nodes.items()}
            bench.turns("pull", pulls, at=size, rounds=rounds[size])
            unpacks = unpack_jobs(bench, f"{bench.directory}/images:made")
            bench.turns("unpack", unpacks, at=size, rounds=rounds[size])
            remove_tree(f"{bench.directory}/images")
