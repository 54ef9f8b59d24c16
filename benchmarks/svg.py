"""A small writer of SVG: what a plot needs, light, the same bytes for the same numbers.

Colours are classes, so that one file is readable on light and on dark pages.
"""

from collections.abc import Iterable
from html import escape

FONT_PX = 12
# Rough widths of a system font, in parts of its size: enough to keep labels apart.
_CHARACTER_EM = 0.56
_STYLE = """\
text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#24292f}
.title{font-weight:600}.soft{fill:#6e7781}.end{text-anchor:end}.middle{text-anchor:middle}
.grid{stroke:#d0d7de;stroke-width:1}.guide{stroke:#8c959f;stroke-dasharray:3 4;fill:none}
.line{fill:none;stroke-width:2}.whisker{stroke:#57606a;stroke-width:1.2}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#8d96a0}.grid{stroke:#30363d}.whisker{stroke:#b1bac4}}
"""
# ours, ours otherwise, then the peers in their order
_COLOURS = ("#1f6feb", "#79b8ff", "#d4711b", "#2da44e", "#bf5fb8", "#9a6700", "#cf222e", "#57727f", "#7a7f87")


def text(x: float, y: float, words: str, kind: str = "") -> str:
    return f'<text x="{number(x)}" y="{number(y)}"{kind_of(kind)}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, colour: int) -> str:
    size = f'width="{number(max(width, 1))}" height="{number(height)}"'
    return f'<rect x="{number(x)}" y="{number(y)}" {size} rx="2" class="f{colour}"/>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    ends = f'x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"'
    return f"<line {ends}{kind_of(kind)}/>"


def path(points: Iterable[tuple[float, float]], colour: int) -> str:
    joined = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return f'<polyline points="{joined}" class="line s{colour}"/>'


def dot(x: float, y: float, colour: int) -> str:
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="3.2" class="f{colour}"/>'


def document(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    colours = "".join(
        f".f{index}{{fill:{colour}}}.s{index}{{stroke:{colour}}}\n" for index, colour in enumerate(_COLOURS)
    )
    size = f'width="{number(width)}" height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(label)}">'
    return "\n".join((head, f"<style>\n{_STYLE}{colours}</style>", *parts, "</svg>")) + "\n"


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def kind_of(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def measure_text(words: str) -> float:
    return len(words) * FONT_PX * _CHARACTER_EM


def pick_colours(parties: Iterable[str]) -> dict[str, int]:
    """Party -> colour: ours are blue, wherever they stand."""
    names = list(dict.fromkeys(parties))
    ours = [name for name in names if name.startswith("rundlet")]
    peers = [name for name in names if name not in ours]
    colours = {name: min(index, 1) for index, name in enumerate(ours)}
    return colours | {name: 2 + index % (len(_COLOURS) - 2) for index, name in enumerate(peers)}
