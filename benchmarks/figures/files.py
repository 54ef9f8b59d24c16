"""Images of many files."""

from functools import partial

from benchmarks.bench import Bench
from benchmarks.figure import Aim, Figure, Row
from benchmarks.images import make_image_of_files
from benchmarks.imagework import PULLING, UMOCI, UNPACKING, measure_sizes

SIZES = (10_000, 60_000, 200_000)
QUICK_SIZES = SIZES[:2]
TURNS_OF_MANY = 2  # the largest takes umoci half a minute


def measure(bench: Bench) -> None:
    sizes = QUICK_SIZES if bench.quick else SIZES
    makers = {size: partial(make_image_of_files, files=size) for size in sizes}
    rounds = {size: bench.rounds if size < SIZES[-1] else min(bench.rounds, TURNS_OF_MANY) for size in sizes}
    measure_sizes(bench, "files", makers, rounds)


FIGURE = Figure(
    name="files",
    title="Images of 10 000, 60 000 and 200 000 files",
    what="One layer of files of 10 to 2 000 bytes, 100 in a directory: pulled by a daemon that runs already, from "
    "Debian's docker-registry on loopback; and unpacked from an OCI layout into a bundle by a whole process.",
    parties=(*PULLING, UNPACKING),
    rows=(
        Row("pull", "PullImage over CRI", unit="s", grows_with="files"),
        Row("unpack", "`unpack` into a bundle", unit="s", grows_with="files"),
    ),
    aims=(Aim("unpack", 1.0, "issue 5", beside=UMOCI, at=60_000),),
    measure=measure,
    rounds=3,
    quick_rounds=1,
)
