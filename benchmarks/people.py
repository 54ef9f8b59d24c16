"""Engines for people, called by their command lines: rundlet and podman, each with its own store.

The image is made of this machine's own programs and loaded from one archive into both.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.bench import BIN, Bench, run
from benchmarks.figure import OURS, Party

PODMAN = "podman"
PARTIES = (Party(OURS), Party(PODMAN, ("podman", "conmon", "runc")))
IMAGE = "localhost/tools:1"
PROGRAMS = ("sh", "true", "sleep", "cat")
NO_NETWORK = ("--network", "none")
# podman 4.3 on cgroup v1 without systemd.
PODMAN_PLACE = ("--cgroup-manager", "cgroupfs", "--events-backend", "file")
# Both write a file; podman's own choice without systemd is the same.
LOG_DRIVERS: dict[str, Sequence[str]] = {OURS: (), PODMAN: ("--log-driver", "k8s-file")}
_PLACES = {"RUNDLET_ROOT": "root", "RUNDLET_RUN_ROOT": "run", "RUNDLET_CONFIG_DIR": "config"}


class Engines(NamedTuple):
    """The beginning of each engine's command lines, by party."""

    programs: dict[str, Sequence[str]]

    def call(self, party: str, *words: str) -> str:
        return run((*self.programs[party], *words))

    def run_detached(self, party: str, name: str, *words: str, options: Sequence[str] = NO_NETWORK) -> None:
        """The engine's monitor stays behind and would hold a pipe."""
        run((*self.programs[party], "run", "-d", "--name", name, *options, IMAGE, *words), piped=False)


@contextmanager
def running_engines(bench: Bench) -> Iterator[Engines]:
    """Those of this host, with the image loaded; who cannot load it drops out."""
    directory = bench.directory
    os.environ.update({variable: f"{directory}/{place}" for variable, place in _PLACES.items()})
    place = ("--root", f"{directory}/podman", "--runroot", f"{directory}/podman-run",
             "--tmpdir", f"{directory}/podman-tmp")  # fmt: skip
    programs: dict[str, Sequence[str]] = {
        OURS: (f"{BIN}/rundlet",),
        PODMAN: ("podman", *place, *PODMAN_PLACE),
    }
    archive = f"{directory}/tools.tar"
    run((*programs[OURS], "image", "from-host", "-t", f"oci-archive:{archive}:{IMAGE}", *PROGRAMS))
    for party, program in programs.items():
        if bench.has(party):
            with bench.sparing(party):
                run((*program, "load", "-i", archive))
    try:
        yield Engines({party: program for party, program in programs.items() if bench.has(party)})
    finally:
        for program in programs.values():
            subprocess.run((*program, "rm", "-f", "-t", "0", "--all"), check=False, capture_output=True)
