"""Images of many layers."""

from functools import partial

from benchmarks.bench import Bench
from benchmarks.figure import Figure, Row
from benchmarks.images import make_layered_image
from benchmarks.imagework import PULLING, UNPACKING, measure_sizes

SIZES = (1, 10, 100)


def measure(bench: Bench) -> None:
    makers = {size: partial(make_layered_image, layers=size) for size in SIZES}
    measure_sizes(bench, "layers", makers, dict.fromkeys(SIZES, bench.rounds))


FIGURE = Figure(
    name="layers",
    title="Images of 1, 10 and 100 layers",
    what="Layers of 20 small files each: pulled by a daemon that runs already, from Debian's docker-registry on "
    "loopback; and unpacked from an OCI layout into a bundle by a whole process.",
    parties=(*PULLING, UNPACKING),
    rows=(
        Row("pull", "PullImage over CRI", unit="s", grows_with="layers"),
        Row("unpack", "`unpack` into a bundle", unit="s", grows_with="layers"),
    ),
    measure=measure,
    rounds=5,
    quick_rounds=1,
)
