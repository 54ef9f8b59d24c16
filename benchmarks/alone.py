"""One benchmark as a command of its own: inside a throw-away node, every single time kept."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / ".cache" / "bench"
PLACE = "/run/rundlet-bench"

Times = dict[str, list[float]]


def run_alone(
    module: str,
    about: str | None,
    measure: Callable[[str, int], dict[str, Times]],
    show: Callable[[dict[str, Times]], None],
) -> None:
    """`python -m benchmarks.MODULE [--rounds N]`; seconds go to .cache/bench/MODULE.json."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if os.environ.get("RUNDLET_NODE") != "1":
        os.environ["PYTHONDONTWRITEBYTECODE"] = ""  # as an installation has its modules compiled
        command = [sys.executable, "-m", f"benchmarks.{module}", *sys.argv[1:]]
        os.execv(sys.executable, [sys.executable, "-m", "rundlet.runtime.node", "--", *command])
    times = measure(PLACE, options.rounds)
    show(times)
    RESULTS.mkdir(parents=True, exist_ok=True)
    document = json.dumps({"cpus": os.cpu_count(), "seconds": times}, indent=2)
    (RESULTS / f"{module}.json").write_text(document + "\n", encoding="utf-8")
