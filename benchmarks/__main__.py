"""`make bench`: every figure that rundlet is judged by, measured beside its peers.

    python -m benchmarks [NAME…] [--rounds N] [--quick] [--missing] [--into DIR]
    python -m benchmarks --list

Each figure is measured by a process of its own in a throw-away node (root), and kept as soon as it
is done: a run that was broken off goes on with --missing.  To measure all again in several goes,
remove docs/performance/results.json and use --missing as often as it takes.  The page is made
again at the end, whatever happened.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from benchmarks.catalog import FIGURES, NAMES
from benchmarks.figure import OURS, Figure
from benchmarks.images import push
from benchmarks.page import DOCS, describe_expected, describe_value, results_path, write_page
from benchmarks.results import ROOT, Measured, Results, merge, read_results, write_results
from benchmarks.stats import median, p95
from benchmarks.verdicts import count_reached, describe_aim, judge
from benchmarks.words import show
from rundlet.image.fromhost import build_host_image
from rundlet.image.layout import Layout
from rundlet.registry.server import RegistryServer

ASIDE = ROOT / ".cache" / "bench"  # where quick and shortened measurements go


class Asked(NamedTuple):
    """What every figure is told; `endpoint` is "SOCKET IMAGE", its directory open as `endpoint_fd`."""

    rounds: int
    quick: bool
    endpoint: str = ""
    endpoint_fd: int = -1


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to measure (all)")
    parser.add_argument("--list", action="store_true", help="name the figures")
    parser.add_argument("--missing", action="store_true", help="only those that have no full measurement yet")
    parser.add_argument("--rounds", type=int, default=0, help="turns of each party")
    parser.add_argument("--quick", action="store_true", help="few rounds and small sizes, into .cache/bench")
    parser.add_argument("--into", type=Path, help="where page and results are kept (docs)")
    parser.add_argument("--endpoint", default="", help="socket of one more CRI runtime, for the figure pods")
    parser.add_argument("--endpoint-image", default="", help="an image with sh and sleep that it can pull")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no such figure: {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    options.into = options.into or (ASIDE if options.quick or options.rounds else DOCS)
    return options


def choose(names: Sequence[str], results: Results, *, missing: bool) -> list[Figure]:
    """In the order of the page."""
    chosen = [figure for figure in FIGURES if not names or figure.name in names]
    return [figure for figure in chosen if not missing or is_missing(results.figures.get(figure.name))]


def is_missing(measured: Measured | None) -> bool:
    return measured is None or measured.quick or OURS in measured.skipped


def measure_in_node(figure: Figure, asked: Asked, file: str) -> Measured:
    """RuntimeError when the process fails or takes too long; its node ends with it."""
    command = [sys.executable, "-m", "rundlet.runtime.node", "--", sys.executable, "-m", "benchmarks.one"]
    command += [figure.name, file, "--rounds", str(asked.rounds), "--endpoint", asked.endpoint]
    command += ["--quick"] if asked.quick else []
    # An installed rundlet has its modules compiled; a checkout has after the first run, unless forbidden.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "RUNDLET_NODE": ""}
    inherited = (asked.endpoint_fd,) if asked.endpoint_fd >= 0 else ()
    with subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=inherited) as process:
        try:
            code = process.wait(figure.time_limit_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise RuntimeError(f"not done within {figure.time_limit_s:.0f} s") from None
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=Measured)
    except (OSError, msgspec.DecodeError) as error:
        raise RuntimeError(f"measuring ended with {code}") from error


@contextmanager
def opening_endpoint(address: str, image: str, asked: Asked) -> Iterator[Asked]:
    """A node sees neither this machine's /run nor its loopback: it reaches the socket through an open directory.

    The image is served here, on this machine's loopback, unless one is named.
    """
    with ExitStack() as stack:
        if address:
            path = Path(address.removeprefix("unix://"))
            fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
            stack.callback(os.close, fd)
            image = image or stack.enter_context(serving_waiter())
            asked = asked._replace(endpoint=f"unix:///proc/self/fd/{fd}/{path.name} {image}", endpoint_fd=fd)
        yield asked


@contextmanager
def serving_waiter() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="rundlet-bench-") as directory:
        registry = RegistryServer(f"{directory}/registry")
        registry.start()
        layout = Layout(f"{directory}/layout")
        build_host_image(["busybox"], layout, "busybox")
        push(layout, "busybox", f"{registry.address}/bench/waiter:1")
        try:
            yield f"{registry.address}/bench/waiter:1"
        finally:
            registry.stop()


# --- what is printed ----------------------------------------------------------------


def print_measured(figure: Figure, measured: Measured) -> None:
    for row in figure.rows:
        for party in measured.list_parties(row.key):
            for size, values in measured.values_by_size(row.key, party).items():
                at = f", {size} {row.grows_with}" if size else ""
                print(
                    f"  {row.what + at:<58.58} {party:<26} {show(median(values)):>8} {show(p95(values)):>8} {row.unit}"
                )


def print_end(results: Results, failed: dict[str, str], page: Path) -> None:
    verdicts = judge(FIGURES, results)
    print("\nexpected and found")
    for verdict in verdicts:
        found = "–" if verdict.found is None else describe_value(verdict, verdict.found)
        print(f"  {verdict.word:<13} {describe_aim(verdict):<56.56} {describe_expected(verdict):<36} {found}")
    print(f"{count_reached(verdicts)}; {page}")
    for name, measured in results.figures.items():
        for party, why in measured.skipped.items():
            print(f"skipped: {name}: {party}: {why}")
    for name, why in failed.items():
        print(f"FAILED: {name}: {why}")


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    if options.list:
        for figure in FIGURES:
            print(f"{figure.name:<10} {figure.title}: {', '.join(party.name for party in figure.parties)}")
        return 0
    path = results_path(options.into)
    results = read_results(path)
    figures = choose(options.names, results, missing=options.missing)
    failed: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="rundlet-bench-") as directory,
        opening_endpoint(
            options.endpoint, options.endpoint_image, Asked(options.rounds, options.quick)
        ) as asked,
    ):
        for figure in figures:
            print(f"{figure.name}: {figure.title}", flush=True)
            try:
                measured = measure_in_node(figure, asked, f"{directory}/{figure.name}.json")
            except RuntimeError as error:
                failed[figure.name] = str(error)
                print(f"  {error}")
                continue
            results = merge(read_results(path), figure.name, measured, NAMES)
            write_results(path, results)
            print_measured(figure, measured)
            print(f"  in {measured.took_s:.0f} s", flush=True)
            if OURS in measured.skipped:
                failed[figure.name] = measured.skipped[OURS]
    print_end(results, failed, write_page(options.into, results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
