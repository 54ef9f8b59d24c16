"""What a figure measures with: turns, what was called, who dropped out.

One `Bench` lives as long as one figure.  A party that fails drops out for the rest of the figure
with its reason; the others go on.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from benchmarks.figure import Figure
from benchmarks.results import ROOT, Series

BIN = os.path.dirname(sys.executable)
# Where else programs are: the administrator's, crictl as the tests build it, as Go installs it.
PROGRAMS = f"/usr/sbin:/sbin:{ROOT}/.cache/crictl:/root/go/bin"
Job = Callable[[], float]


class Bench:
    """`directory` is on a tmpfs of the figure's own; values are in the unit of their row."""

    def __init__(
        self, figure: Figure, directory: str, *, rounds: int = 0, quick: bool = False, endpoint: str = ""
    ) -> None:
        self.figure, self.directory = figure, directory
        self.rounds = rounds or (figure.quick_rounds if quick else figure.rounds)
        self.quick, self.endpoint = quick, endpoint
        self.skipped: dict[str, str] = {}
        self.called: dict[str, list[str]] = {}
        self._values: dict[tuple[str, str, int], list[float]] = {}
        for party in figure.parties:
            missing = [need for need in party.needs if find_program(need) is None]
            if missing:
                self.skipped[party.name] = f"not on this host: {', '.join(missing)}"

    def has(self, party: str) -> bool:
        return party not in self.skipped

    def turns(
        self, row: str, jobs: Mapping[str, Job], *, at: int = 0, rounds: int = 0, warm_up: int = 1
    ) -> None:
        """Each party's job once a round; who begins changes; the first rounds do not count."""
        for number in range(-warm_up, rounds or self.rounds):
            for party in rotate(list(jobs), number):
                if self.has(party):
                    with self.sparing(party):
                        value = jobs[party]()
                        if number >= 0:
                            self.add(row, party, value, at=at)

    def add(self, row: str, party: str, value: float, *, at: int = 0) -> None:
        self._values.setdefault((self.figure.find_row(row).key, party, at), []).append(value)

    @contextmanager
    def sparing(self, party: str) -> Iterator[None]:
        """What goes wrong in here is this party's loss alone."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are measured
            self.drop(party, f"{type(error).__name__}: {error}")

    def drop(self, party: str, why: str) -> None:
        self.skipped.setdefault(party, " ".join(why.replace(self.directory, "$DIR").split())[:400])

    def tell(self, party: str, call: str | Sequence[str]) -> None:
        """Keep what this party was told to do, for the page: a command line, or words."""
        text = call if isinstance(call, str) else shlex.join((os.path.basename(call[0]), *call[1:]))
        text = text.replace(self.directory, "$DIR")
        text = re.sub(r"127\.0\.0\.1:\d+", "$REGISTRY", text)
        calls = self.called.setdefault(party, [])
        if text not in calls:
            calls.append(text)

    def command(
        self, party: str, argv: Sequence[str], *, timer: Callable[[Callable[[], object]], float]
    ) -> Job:
        """The job of running `argv` as a process of its own, told on the page."""
        self.tell(party, argv)
        return lambda: timer(lambda: run(argv))

    def list_series(self) -> list[Series]:
        return [Series(row, party, at, values) for (row, party, at), values in self._values.items()]


def rotate(names: list[str], number: int) -> list[str]:
    start = number % len(names)
    return names[start:] + names[:start]


def find_program(name: str) -> str | None:
    """Where a command or file is; those of this Python's environment come first."""
    if name.startswith("/"):
        return name if os.path.exists(name) else None
    return shutil.which(name, path=f"{BIN}:{os.environ.get('PATH', os.defpath)}:{PROGRAMS}")


def run(argv: Sequence[str], *, timeout_s: float = 120.0, piped: bool = True) -> str:
    """What the process prints; RuntimeError with its last words when it fails.

    A process that leaves others behind must not be `piped`: they would hold its pipes open.
    """
    output = subprocess.PIPE if piped else subprocess.DEVNULL
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True, errors="replace", check=False,
        timeout=timeout_s,
    )  # fmt: skip
    if done.returncode:
        words = ((done.stderr or "").strip() or (done.stdout or "").strip()).splitlines()[-1:]
        raise RuntimeError(f"{shlex.join(argv)} ended with {done.returncode}: {' '.join(words)}")
    return done.stdout or ""


def timed_s(action: Callable[[], object]) -> float:
    begun_ns = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - begun_ns) / 1e9


def timed_ms(action: Callable[[], object]) -> float:
    return timed_s(action) * 1e3


def await_true(
    ready: Callable[[], bool], what: str, *, timeout_s: float = 20.0, poll_s: float = 0.002
) -> None:
    """TimeoutError when `ready` never says so."""
    deadline_s = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(poll_s)
