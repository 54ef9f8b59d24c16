"""Numbers made of measured values."""

import math
import statistics
from collections.abc import Mapping, Sequence

# A fitted exponent above this is called steeper than linear: the rest is scatter.
STEEP = 1.1


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    """The 95th percentile, between the two nearest values in proportion (Hyndman and Fan's type 7)."""
    ordered = sorted(values)
    place = 0.95 * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def fit_exponent(points: Mapping[int, float]) -> float | None:
    """k of the nearest y = c·x^k (least squares of the logarithms); None of fewer than two positive points."""
    usable = [(math.log(size), math.log(value)) for size, value in points.items() if size > 0 and value > 0]
    if len({x for x, _ in usable}) < 2:
        return None
    slope, _ = statistics.linear_regression(*zip(*usable, strict=True))
    return slope


def last_exponent(points: Mapping[int, float]) -> float | None:
    """The exponent between the two largest sizes: a constant part hides there least."""
    return fit_exponent({size: points[size] for size in sorted(points)[-2:]})


def is_steep(points: Mapping[int, float]) -> bool:
    """Whether the cost grows faster than the size, over all or at its end."""
    return any(found is not None and found > STEEP for found in (fit_exponent(points), last_exponent(points)))
