"""Kubernetes' CRI conformance suite (critest) against rundletd: serial, parallel, over WebSocket.

    nox -s conformance [-- --work DIR] [-- --runs serial parallel websocket]

The rig lies beside the project (../shared/rig, its README says what it needs).
What is not on this host is skipped by name in a closing line; every run ends with
a closing line as pytest's: "108 passed, 14 skipped in 70.0s: critest, serial".
Results, a file a run: .cache/conformance/results/<run>.json, from which
tools/make_conformance_page.py makes docs/conformance.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RIG = ROOT.parent / "shared" / "rig"
# The names in braces are filled in by the rig's with_runtime.py.
DAEMON = (
    f"{sys.executable} -m rundlet.cri.daemon --socket {{socket}} --root {{work}}/root --run-root {{work}}/run"
    " --cni-conf {cni_conf} --cni-bin {cni_bin}"
)
# What may be skipped, anywhere: host features that this machine's kernel lacks, and measurements.
MAY_BE_SKIPPED = ("AppArmor", "benchmark")


class Run(NamedTuple):
    """One way to run the suite, and how many specs have to pass that way."""

    name: str
    arguments: tuple[str, ...]
    least_passed: int
    programs: tuple[str, ...] = ()
    whole: bool = True


RUNS = (
    Run("serial", (), 108),
    Run("parallel", ("--parallel", "4"), 108, programs=("ginkgo",)),
    Run("websocket",
        ("--focus", "Streaming", "--", "-websocket-exec", "-websocket-attach", "-websocket-portforward"),
        5, whole=False),
)  # fmt: skip


def rig(script: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(RIG / script), *arguments)


def missing_parts() -> Iterator[str]:
    """What this host lacks to run the suite at all, by name."""
    if os.geteuid() != 0:
        yield "root"
    if not RIG.is_dir():
        yield f"the rig at {RIG}"
    for program in ("critest", "docker-registry", "busybox", "openssl", "gcc", "ip"):
        if shutil.which(program) is None:
            yield program


def make_images(work: Path) -> None:
    """The offline registry that critest's images come from; made once, published by its last file."""
    images = work / "images"
    ready = images / "ready"
    if ready.exists():
        return
    print(f"making critest's images in {images}", flush=True)
    quiet = subprocess.DEVNULL
    subprocess.run(rig("make_test_images.py", "--out", str(images)), check=True, stdout=quiet)
    push = rig("make_test_images.py", "--out", str(images), "--no-build", "--push", "http://127.0.0.1:5000")
    registry = ("--work", str(work / "node"), "--registry", str(images / "registry"))
    subprocess.run((*rig("rigns.py", *registry), "--", *push), check=True, stdout=quiet)
    ready.touch()


def run_suite(work: Path, run: Run) -> dict[str, Any]:
    """The rig's summary of one run; an empty one when it ended without any."""
    images, results = work / "images", work / "results"
    result = results / f"{run.name}.json"
    result.unlink(missing_ok=True)
    shutil.rmtree(work / "state", ignore_errors=True)
    command = (
        *rig("rigns.py", "--timeout", "600", "--work", str(work / "node"), "--registry", str(images / "registry")),
        "--", *rig("with_runtime.py", "--kind", "custom", "--work", str(work / "state"), "--daemon", DAEMON),
        "--", *rig("run_critest.py", "--label", run.name, "--out", str(results),
                   "--refs", str(images / "refs.json")),
        *run.arguments,
    )  # fmt: skip
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if not result.exists():
        return {"wall_s": 0.0, "specs": []}
    summary: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return summary


def find_faults(run: Run, specs: list[dict[str, Any]]) -> Iterator[str]:
    """Why a run does not count as passed, one line a reason."""
    for spec in specs:
        if spec["state"] == "skipped":
            if run.whole and not any(word in spec["name"] for word in MAY_BE_SKIPPED):
                yield f"skipped: {spec['name']}: {first_line(spec)}"
        elif spec["state"] != "passed":
            yield f"{spec['state']}: {spec['name']}: {first_line(spec)}"
    passed = sum(spec["state"] == "passed" for spec in specs)
    if passed < run.least_passed:
        yield f"{passed} specs passed, at least {run.least_passed} have to"


def first_line(spec: dict[str, Any]) -> str:
    return str(spec["message"]).partition("\n")[0]


def closing_line(run: Run, summary: dict[str, Any]) -> str:
    """Counts as pytest gives them; specs that a focus left out are not counted."""
    states = Counter(spec["state"] for spec in summary["specs"])
    failed = sum(states.values()) - states["passed"] - states["skipped"]
    counts = {"failed": failed, "passed": states["passed"], "skipped": states["skipped"] if run.whole else 0}
    text = ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "1 error"
    return f"{text} in {summary['wall_s']:.2f}s: critest, {run.name}"


def run_all(work: Path, runs: list[Run]) -> int:
    make_images(work)
    closing, faults = [], []
    for run in runs:
        missing = [program for program in run.programs if shutil.which(program) is None]
        if missing:
            closing.append(f"1 skipped in 0.00s: critest, {run.name}: {missing[0]} not on this host")
            continue
        summary = run_suite(work, run)
        faults += [f"{run.name}: {fault}" for fault in find_faults(run, summary["specs"])]
        closing.append(closing_line(run, summary))
    print("\n".join((*faults, *closing)))
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [run.name for run in RUNS]
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "conformance")
    parser.add_argument("--runs", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    missing = list(missing_parts())
    if missing:
        print(f"1 skipped in 0.00s: critest: not on this host: {', '.join(missing)}")
        return 0
    options.work.mkdir(parents=True, exist_ok=True)
    return run_all(options.work, [run for run in RUNS if run.name in options.runs])


if __name__ == "__main__":
    sys.exit(main())
