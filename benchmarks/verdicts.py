"""What was expected beside what was found: computed from the results, never written by hand."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.figure import OURS, Aim, Figure, Row
from benchmarks.results import Measured, Results
from benchmarks.stats import fit_exponent, is_steep, last_exponent, median


class Verdict(NamedTuple):
    """`found` and `reached` are None where nothing, or not everything, was measured."""

    figure: Figure
    row: Row
    aim: Aim
    found: float | None
    reached: bool | None

    @property
    def word(self) -> str:
        return {True: "reached", False: "MISSED", None: "not measured"}[self.reached]


class Steep(NamedTuple):
    """A row that grows faster than its size: exponents over all sizes, and between the last two."""

    figure: Figure
    row: Row
    party: str
    exponent: float
    last: float


def find_value(measured: Measured, aim: Aim) -> float | None:
    """The median, or the ratio, that the aim speaks of."""
    ours = find_median(measured, aim.row, aim.party, aim.at)
    if aim.beside:
        return divide(ours, find_median(measured, aim.row, aim.beside, aim.at))
    if aim.to_size:
        return divide(ours, find_median(measured, aim.row, aim.party, aim.to_size))
    return ours


def find_median(measured: Measured, row: str, party: str, size: int) -> float | None:
    values = measured.values_by_size(row, party).get(size)
    return median(values) if values else None


def divide(value: float | None, other: float | None) -> float | None:
    return value / other if value is not None and other else None


def judge(figures: Sequence[Figure], results: Results) -> list[Verdict]:
    """Every aim of every figure, in the order of the page."""
    verdicts = []
    for figure in figures:
        measured = results.figures.get(figure.name)
        for aim in figure.aims:
            found = find_value(measured, aim) if measured else None
            reached = None if found is None else holds(aim, found)
            verdicts.append(Verdict(figure, figure.find_row(aim.row), aim, found, reached))
    return verdicts


def holds(aim: Aim, found: float) -> bool:
    return found >= aim.expected if aim.at_least else found <= aim.expected


def find_steep(figures: Sequence[Figure], results: Results) -> Iterator[Steep]:
    """Ours and the peers'; a rate that grows is no cost."""
    for figure in figures:
        measured = results.figures.get(figure.name)
        for row in figure.rows if measured else ():
            if measured and row.grows_with and not row.more_is_better:
                for party in measured.list_parties(row.key):
                    points = medians_by_size(measured, row.key, party)
                    if is_steep(points):
                        yield Steep(
                            figure, row, party, fit_exponent(points) or 0.0, last_exponent(points) or 0.0
                        )


def medians_by_size(measured: Measured, row: str, party: str) -> dict[int, float]:
    return {size: median(values) for size, values in measured.values_by_size(row, party).items()}


def count_reached(verdicts: Sequence[Verdict]) -> str:
    counts = {state: sum(verdict.reached is state for verdict in verdicts) for state in (True, False, None)}
    text = f"{counts[True]} of {len(verdicts)} reached"
    text += f", {counts[False]} missed" if counts[False] else ""
    return text + (f", {counts[None]} not measured" if counts[None] else "")


def describe_aim(verdict: Verdict) -> str:
    """Who, in which row, at which size."""
    aim, row = verdict.aim, verdict.row
    size = f", {aim.at} {row.grows_with}" if aim.at else ""
    who = "" if aim.party == OURS else f" ({aim.party})"
    return f"{row.what}{who}{size}"
