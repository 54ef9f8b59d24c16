"""Plots of one figure: bars with their p95, and lines of how cost grows on two logarithmic axes."""

import math
from collections.abc import Iterable, Mapping, Sequence

from benchmarks import svg
from benchmarks.figure import Figure, Row
from benchmarks.results import Measured
from benchmarks.stats import fit_exponent, median, p95
from benchmarks.verdicts import medians_by_size
from benchmarks.words import show_count, show_unit

WIDTH = 760
_PAD = 12
# bars
_LABEL_PX, _VALUE_PX, _BAR_PX, _STEP_PX, _TITLE_PX = 150, 90, 14, 20, 26
# lines
_COLUMNS, _PANEL_PX = 2, 230
_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 44, 118, 28, 34
_LABEL_STEP_PX = 14


def draw_bars(figure: Figure, measured: Measured) -> str:
    """The rows without sizes, one below the other, each on a scale of its own; "" when there are none."""
    rows = [row for row in figure.rows if not row.grows_with and measured.list_parties(row.key)]
    if not rows:
        return ""
    colours = svg.pick_colours(party.name for party in figure.parties)
    parts: list[str] = []
    y = float(_PAD)
    for row in rows:
        values = {
            party: measured.values_by_size(row.key, party)[0] for party in measured.list_parties(row.key)
        }
        parts += draw_row(row, order_parties(figure, values), colours, y)
        y += _TITLE_PX + len(values) * _STEP_PX + _PAD
    return svg.document(WIDTH, y, figure.title, parts)


def order_parties(figure: Figure, values: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {party.name: values[party.name] for party in figure.parties if party.name in values}


def draw_row(row: Row, values: Mapping[str, list[float]], colours: Mapping[str, int], y: float) -> list[str]:
    longest = max(p95(each) for each in values.values()) or 1.0
    scale = (WIDTH - 2 * _PAD - _LABEL_PX - _VALUE_PX) / longest
    left = _PAD + _LABEL_PX
    better = "more is better" if row.more_is_better else "less is better"
    parts = [
        svg.text(_PAD, y + 13, plain(row.what), "title"),
        svg.text(WIDTH - _PAD, y + 13, f"{row.unit}, {better}", "soft end"),
    ]
    for index, (party, each) in enumerate(values.items()):
        top = y + _TITLE_PX + index * _STEP_PX
        middle, far = median(each), max(p95(each), median(each))
        parts.append(svg.text(left - 8, top + 11, party, "end"))
        parts.append(svg.box(left, top, middle * scale, _BAR_PX, colours[party]))
        if len(each) > 2:
            parts += draw_whisker(left + middle * scale, left + far * scale, top + _BAR_PX / 2)
        parts.append(svg.text(left + far * scale + 8, top + 11, show_unit(middle, row.unit)))
    return parts


def draw_whisker(start: float, end: float, y: float) -> list[str]:
    return [svg.line(start, y, end, y, "whisker"), svg.line(end, y - 3, end, y + 3, "whisker")]


def draw_growth(figure: Figure, measured: Measured) -> str:
    """The rows with sizes, a panel each; "" when there are none."""
    rows = [row for row in figure.rows if row.grows_with and measured.list_parties(row.key)]
    if not rows:
        return ""
    colours = svg.pick_colours(party.name for party in figure.parties)
    parts: list[str] = []
    for index, row in enumerate(rows):
        points = {
            party: medians_by_size(measured, row.key, party) for party in measured.list_parties(row.key)
        }
        panel = Panel(points, x=index % _COLUMNS * WIDTH / _COLUMNS, y=index // _COLUMNS * _PANEL_PX)
        parts += panel.draw(row, colours)
    height = math.ceil(len(rows) / _COLUMNS) * _PANEL_PX + _STEP_PX
    parts.append(
        svg.text(
            _PAD,
            height - 8,
            "Both axes logarithmic; dashed: in proportion to the size; x^k: the fit.",
            "soft",
        )
    )
    return svg.document(WIDTH, height, f"{figure.title}: growth", parts)


class Panel:
    """One row's lines, between its smallest and largest values."""

    def __init__(self, points: Mapping[str, Mapping[int, float]], *, x: float, y: float) -> None:
        self.points = {
            party: {size: max(value, 1e-6) for size, value in each.items()} for party, each in points.items()
        }
        self.sizes = sorted({size for each in points.values() for size in each})
        values = [value for each in self.points.values() for value in each.values()]
        self.low, self.high = min(values) / 1.25, max(values) * 1.25
        self.left, self.right = x + _LEFT_PX, x + WIDTH / _COLUMNS - _RIGHT_PX
        self.top, self.bottom = y + _TOP_PX, y + _PANEL_PX - _BOTTOM_PX
        self.y = y

    def place_x(self, size: int) -> float:
        return between(size, self.sizes[0], self.sizes[-1], self.left + 6, self.right - 6)

    def place_y(self, value: float) -> float:
        return between(value, self.low, self.high, self.bottom, self.top)

    def draw(self, row: Row, colours: Mapping[str, int]) -> list[str]:
        parts = [
            svg.text(self.left - _LEFT_PX + _PAD, self.y + 16, f"{plain(row.what)}, {row.unit}", "title")
        ]
        parts += self.draw_axes(row)
        for party, each in self.points.items():
            placed = [(self.place_x(size), self.place_y(value)) for size, value in each.items()]
            parts += [
                svg.path(placed, colours[party]),
                *(svg.dot(*point, colours[party]) for point in placed),
            ]
        return parts + self.draw_labels(colours)

    def draw_axes(self, row: Row) -> list[str]:
        parts = []
        for value in list_ticks(self.low, self.high):
            y = self.place_y(value)
            parts += [
                svg.line(self.left, y, self.right, y, "grid"),
                svg.text(self.left - 6, y + 4, show_tick(value), "soft end"),
            ]
        for size in self.sizes:
            parts.append(svg.text(self.place_x(size), self.bottom + 15, show_count(size), "soft middle"))
        parts.append(svg.text(self.right + 8, self.bottom + 15, row.grows_with, "soft"))
        return [*parts, self.draw_guide()]

    def draw_guide(self) -> str:
        """From the lowest first value, in proportion to the size, as far as the panel goes."""
        first = min(each[min(each)] for each in self.points.values())
        steepest = self.sizes[0] * self.high / first
        end = min(float(self.sizes[-1]), steepest)
        x = between(end, self.sizes[0], self.sizes[-1], self.left + 6, self.right - 6)
        return svg.line(
            self.place_x(self.sizes[0]),
            self.place_y(first),
            x,
            self.place_y(first * end / self.sizes[0]),
            "guide",
        )

    def draw_labels(self, colours: Mapping[str, int]) -> list[str]:
        """Beside each line's end, its name and exponent, pushed apart."""
        ends = {party: self.place_y(each[max(each)]) for party, each in self.points.items()}
        spread = spread_out(ends, self.top, self.bottom)
        parts = []
        for party, y in spread.items():
            exponent = fit_exponent(self.points[party])
            words = party if exponent is None else f"{party} x^{exponent:.2f}"
            parts += [svg.dot(self.right + 10, y, colours[party]), svg.text(self.right + 17, y + 4, words)]
        return parts


def between(value: float, low: float, high: float, start: float, end: float) -> float:
    """Where `value` lies from `start` to `end` on a logarithmic axis."""
    if high <= low:
        return (start + end) / 2
    return start + (end - start) * math.log(value / low) / math.log(high / low)


def list_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each decade, or the decades alone where those are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 7 else [10.0**decade for decade in decades if low <= 10.0**decade <= high]


def show_tick(value: float) -> str:
    return show_count(int(value)) if value >= 1 else f"{value:g}"


def spread_out(places: Mapping[str, float], top: float, bottom: float) -> dict[str, float]:
    """The same order from top to bottom, no two nearer than a line of text, nothing below the bottom if it can be."""
    ordered = sorted(places.items(), key=lambda item: item[1])
    found: dict[str, float] = {}
    last = top - _LABEL_STEP_PX
    for party, y in ordered:
        last = found[party] = max(y, last + _LABEL_STEP_PX)
    excess = max(0.0, last - bottom)
    return {party: y - excess for party, y in found.items()}


def plain(words: str) -> str:
    """Without Markdown's code marks."""
    return words.replace("`", "")


def list_plots(figures: Sequence[Figure], measured: Mapping[str, Measured]) -> Iterable[tuple[str, str]]:
    """(file name, SVG) of every plot there is."""
    for figure in figures:
        if figure.name in measured:
            drawn = ((f"{figure.name}.svg", draw_bars), (f"{figure.name}-growth.svg", draw_growth))
            for name, draw in drawn:
                if content := draw(figure, measured[figure.name]):
                    yield name, content
