"""One figure, measured: the process inside the throw-away node.

    python -m benchmarks.one NAME FILE [--rounds N] [--quick] [--endpoint "SOCKET IMAGE"]

Writes a `results.Measured` to FILE.  Exits 1 when rundlet itself dropped out.
"""

import argparse
import datetime as dt
import os
import sys
import time

import msgspec

from benchmarks.bench import Bench
from benchmarks.catalog import find_figure
from benchmarks.figure import OURS
from benchmarks.results import Measured, describe_host, read_revision
from benchmarks.versions import list_versions
from rundlet.kernel.mount import MNT_DETACH, mount, umount

PLACE = "/run/figure"


def measure_figure(bench: Bench) -> Measured:
    figure, load, begun_s = bench.figure, os.getloadavg()[0], time.monotonic()
    begun = dt.datetime.now(dt.UTC)
    figure.measure(bench)
    return Measured(
        measured_at=begun.isoformat(timespec="seconds").replace("+00:00", "Z"),
        took_s=time.monotonic() - begun_s,
        rounds=bench.rounds,
        quick=bench.quick,
        revision=read_revision(),
        load=round(load, 2),
        host=describe_host(),
        versions=list_versions(figure),
        called=bench.called,
        skipped=bench.skipped,
        series=bench.list_series(),
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one")
    parser.add_argument("name")
    parser.add_argument("file")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--endpoint", default="")
    options = parser.parse_args(argv)
    if os.environ.get("RUNDLET_NODE") != "1":
        parser.error("only inside a throw-away node: python -m benchmarks NAME")
    os.makedirs(PLACE)
    mount("tmpfs", PLACE, "tmpfs", 0, "mode=755")
    try:
        bench = Bench(
            find_figure(options.name), PLACE,
            rounds=options.rounds, quick=options.quick, endpoint=options.endpoint,
        )  # fmt: skip
        measured = measure_figure(bench)
    finally:
        umount(PLACE, MNT_DETACH)  # what a peer has mounted may linger
    with open(options.file, "wb") as file:
        file.write(msgspec.json.encode(measured))
    return 1 if OURS in measured.skipped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
