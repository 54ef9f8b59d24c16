"""What was measured, as it is kept: docs/performance/results.json.

figures
  NAME             one figure, measured at once; measuring it again replaces it
    measured_at    UTC, ISO 8601
    took_s, rounds, quick, revision (git), load (of one minute, when it began)
    host           the machine
    versions       program -> what it says it is
    called         party -> its command lines
    skipped        party -> why it has no values, or not all
    series         row, party, at (size, 0 for none), every single value
"""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
DIGITS = 5


class Series(msgspec.Struct, frozen=True):
    """Every value of one party in one row at one size, in the row's unit and the order of measuring."""

    row: str
    party: str
    at: int
    values: list[float]


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """The machine of a measurement."""

    system: str
    kernel: str
    machine: str
    processor: str
    cpus: int
    memory_gib: float
    python: str
    cgroup: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One figure's measurement."""

    measured_at: str
    took_s: float
    rounds: int
    quick: bool
    revision: str
    load: float
    host: Host
    versions: dict[str, str]
    called: dict[str, list[str]]
    skipped: dict[str, str]
    series: list[Series]

    def values_by_size(self, row: str, party: str) -> dict[int, list[float]]:
        """The values by size; {0: …} for a row without sizes."""
        found = {one.at: one.values for one in self.series if (one.row, one.party) == (row, party)}
        return dict(sorted(found.items()))

    def list_parties(self, row: str) -> list[str]:
        """Who has values, in the order of first measuring."""
        return list(dict.fromkeys(one.party for one in self.series if one.row == row))


class Results(msgspec.Struct, frozen=True):
    """All figures that have been measured."""

    figures: dict[str, Measured] = {}


def read_results(path: Path) -> Results:
    """Nothing measured when there is no file; msgspec.DecodeError on one that is broken."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except FileNotFoundError:
        return Results()


def merge(results: Results, name: str, measured: Measured, order: Iterable[str]) -> Results:
    """The figure replaced or added; figures stand in `order`, unknown ones are dropped."""
    figures = results.figures | {name: measured}
    return Results({known: figures[known] for known in order if known in figures})


def write_results(path: Path, results: Results) -> None:
    """Published by renaming: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(render(results), encoding="utf-8")
    os.replace(draft, path)


def render(results: Results) -> str:
    """JSON with one series a line, so that a measurement made again is a small diff."""
    rounded = {name: round_values(measured) for name, measured in results.figures.items()}
    parts = []
    for name, measured in rounded.items():
        head = msgspec.to_builtins(measured)
        series = head.pop("series")
        lines = [f"   {encode(key)}: {encode(value)}" for key, value in head.items()]
        rows = ",\n".join(f"    {encode(one)}" for one in series)
        lines.append(f'   "series": [\n{rows}\n   ]')
        parts.append(f"  {encode(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    return '{\n "figures": {\n' + ",\n".join(parts) + "\n }\n}\n"


def encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def round_values(measured: Measured) -> Measured:
    series = [
        Series(one.row, one.party, one.at, [float(f"{value:.{DIGITS}g}") for value in one.values])
        for one in measured.series
    ]
    return msgspec.structs.replace(measured, series=series, took_s=round(measured.took_s, 1))


# --- the host -------------------------------------------------------------------


def read_fact(path: str, key: str, separator: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            name, found, value = line.partition(separator)
            if found and name.strip() == key:
                return value.strip().strip('"')
    return ""


def describe_host() -> Host:
    names = os.uname()
    memory_kib = int(read_fact("/proc/meminfo", "MemTotal", ":").split()[0])
    return Host(
        system=read_fact("/etc/os-release", "PRETTY_NAME", "="),
        kernel=names.release,
        machine=names.machine,
        processor=read_fact("/proc/cpuinfo", "model name", ":"),
        cpus=len(os.sched_getaffinity(0)),
        memory_gib=round(memory_kib / (1 << 20), 1),
        python=platform.python_version(),
        cgroup="v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1",
    )


def read_revision() -> str:
    """The commit that is measured, with a "+" when the code differs from it; "" outside of git."""
    git = ("git", "-C", str(ROOT))
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "src"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
