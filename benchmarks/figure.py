"""What a figure is: values that the harness measures, judges and draws.

A figure has rows (one quantity each), and parties that are measured in turns: rundlet and its
peers.  A row that grows is measured at several sizes, `at`: pods, layers, files, containers.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from benchmarks.bench import Bench

OURS = "rundlet"


class Party(NamedTuple):
    """Who is measured, and what the host must have for it: commands, or absolute paths of files."""

    name: str
    needs: Sequence[str] = ()


class Row(NamedTuple):
    """One quantity; `grows_with` is what its sizes count, "" for a row without sizes."""

    key: str
    what: str
    unit: str = "ms"
    grows_with: str = ""
    more_is_better: bool = False


class Aim(NamedTuple):
    """What is expected of one party's median: the value itself, or a ratio.

    beside      ratio to this party's median (at the same size)
    at          the size, 0 for a row without sizes
    to_size     ratio to the same party's median at this size
    """

    row: str
    expected: float
    source: str
    beside: str = ""
    at: int = 0
    to_size: int = 0
    party: str = OURS
    at_least: bool = False


class Figure(NamedTuple):
    """One module's worth of measuring; `rounds` and `quick_rounds` count each party's turns."""

    name: str
    title: str
    what: str
    parties: Sequence[Party]
    rows: Sequence[Row]
    measure: Callable[["Bench"], None]
    aims: Sequence[Aim] = ()
    rounds: int = 10
    quick_rounds: int = 3
    notes: str = ""  # what explains a missed or steep row; Markdown
    time_limit_s: float = 400.0

    def find_row(self, key: str) -> Row:
        return next(row for row in self.rows if row.key == key)
