"""What was played, scene by victim: "points" were come to, "passed" of them with nothing lost and nothing left."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal

Outcome = Literal["passed", "failed", "missed"]
Count = tuple[str, str, Outcome, int]

PROPERTY = "crashes"


class Tally:
    """Scene, victim or fault, and how it went; missed are those points that nobody came to this time."""

    def __init__(self, counts: Iterable[Count] = ()) -> None:
        self._counts: Counter[tuple[str, str, Outcome]] = Counter()
        self.add(counts)

    def add(self, counts: Iterable[Count]) -> None:
        for scene, what, outcome, number in counts:
            self._counts[scene, what, outcome] += number

    def counts(self) -> list[Count]:
        """As a test's report carries them from a worker."""
        return [(*key, number) for key, number in sorted(self._counts.items())]

    def lines(self) -> Iterator[str]:
        """A table: for each scene and victim "passed/points"; what was missed stands beside it."""
        scenes = sorted({scene for scene, _, _ in self._counts})
        whats = sorted({what for _, what, _ in self._counts})
        yield _row("", [*scenes, "together"])
        for what in whats:
            yield _row(what, [self._cell([scene], [what]) for scene in scenes] + [self._cell(scenes, [what])])
        yield _row("together", [self._cell([scene], whats) for scene in scenes] + [self._cell(scenes, whats)])
        yield f"passed/points; {self._sum(scenes, whats, 'missed')} more were not come to this time"

    def _cell(self, scenes: list[str], whats: list[str]) -> str:
        passed, failed = (self._sum(scenes, whats, outcome) for outcome in ("passed", "failed"))
        return f"{passed}/{passed + failed}" if passed + failed else "-"

    def _sum(self, scenes: list[str], whats: list[str], outcome: str) -> int:
        return sum(
            number
            for (scene, what, how), number in self._counts.items()
            if scene in scenes and what in whats and how == outcome
        )


def _row(head: str, cells: list[str]) -> str:
    return f"{head:<11}" + "".join(f"{cell:>12}" for cell in cells)
