"""How long a group's tasks waited for a resource (Documentation/accounting/psi.rst).

some avg10=0.00 avg60=0.00 avg300=0.00 total=0
full avg10=0.00 avg60=0.00 avg300=0.00 total=0
"""

from typing import NamedTuple


class Stall(NamedTuple):
    """Microseconds since the group was made, and per cent of the last 10, 60 and 300 seconds."""

    total_us: int = 0
    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0


class Pressure(NamedTuple):
    """Of some task, and of all of them at once."""

    some: Stall = Stall()
    full: Stall = Stall()


def parse_pressure(text: str) -> Pressure:
    """A pressure file; what it lacks, and what is no number, is 0."""
    lines = dict(line.partition(" ")[::2] for line in text.splitlines())
    return Pressure(_parse_stall(lines.get("some", "")), _parse_stall(lines.get("full", "")))


def _parse_stall(line: str) -> Stall:
    words = dict(word.partition("=")[::2] for word in line.split())
    total = words.get("total", "")
    averages = (_parse_number(words.get(name, "")) for name in ("avg10", "avg60", "avg300"))
    return Stall(int(total) if total.isdigit() else 0, *averages)


def _parse_number(text: str) -> float:
    whole, _, fraction = text.partition(".")
    return float(text) if whole.isdigit() and (not fraction or fraction.isdigit()) else 0.0
