"""All figures, in the order of the page."""

from collections.abc import Sequence

from benchmarks.figure import Figure
from benchmarks.figures import (
    api,
    copying,
    density,
    execs,
    files,
    layers,
    listing,
    logs,
    podman,
    pods,
    pull,
    start,
    startup,
)

FIGURES: Sequence[Figure] = (
    start.FIGURE,
    execs.FIGURE,
    pods.FIGURE,
    density.FIGURE,
    listing.FIGURE,
    logs.FIGURE,
    podman.FIGURE,
    api.FIGURE,
    startup.FIGURE,
    pull.FIGURE,
    copying.FIGURE,
    layers.FIGURE,
    files.FIGURE,
)
NAMES = tuple(figure.name for figure in FIGURES)


def find_figure(name: str) -> Figure:
    """KeyError when there is none of that name."""
    return {figure.name: figure for figure in FIGURES}[name]
