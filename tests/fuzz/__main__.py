"""The long form: python -m tests.fuzz [NAME …] [--seconds N]

Each target for N seconds: guided by coverage where atheris is installed (`tests.fuzz.guided`), else by chance.
What it learns stays in .cache/fuzz/NAME.  An input that fails is made small and kept as corpus/NAME/fault-…, one that
comes to lines of rundlet's that no kept one comes to as corpus/NAME/HASH; commit both.  Ends with 1 after a fault.
"""

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from tests.fuzz.reduction import choose, find_fault, shrink
from tests.fuzz.target import HERE, Target, list_targets, load

CACHE = HERE.parents[1] / ".cache" / "fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz rundlet's parsers.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(list_targets())}; all when none"
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    asked = parser.parse_args()
    faults = [name for name in asked.names or list_targets() if not fuzz(load(name), asked.seconds)]
    print(f"faults in: {', '.join(faults)}" if faults else "no fault")
    return 1 if faults else 0


def fuzz(target: Target, seconds: int) -> bool:
    """Whether it held."""
    found = CACHE / target.name
    found.mkdir(parents=True, exist_ok=True)
    guided = importlib.util.find_spec("atheris") is not None
    failing = run_guided(target, found, seconds) if guided else run_blind(target, found, seconds)
    if failing is not None:
        path = keep(target, shrink(target, failing), "fault-")
        print(f"{target.name}: {find_fault(target, path.read_bytes()) or 'not seen again'}\n    {path}")
    inputs = [path.read_bytes() for path in sorted(found.iterdir(), key=lambda path: path.stat().st_size)]
    chosen = choose(target, target.inputs(), inputs)
    for data in chosen:
        keep(target, data)
    print(f"{target.name}: {len(inputs)} inputs known, {len(chosen)} new ones kept")
    return failing is None


def keep(target: Target, data: bytes, prefix: str = "") -> Path:
    target.corpus.mkdir(parents=True, exist_ok=True)
    path = target.corpus / f"{prefix}{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def run_guided(target: Target, found: Path, seconds: int) -> bytes | None:
    """The input that failed, if one did."""
    artifact = CACHE / f"{target.name}.failed"
    artifact.unlink(missing_ok=True)
    for data in target.inputs():
        (found / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    options = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-max_len=65536",
        "-verbosity=0",
    ]
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.guided",
        target.name,
        str(found),
        f"-exact_artifact_path={artifact}",
    ]
    done = subprocess.run([*command, *options], check=False, cwd=HERE.parents[1])
    if done.returncode and not artifact.exists():
        raise SystemExit(f"{target.name}: the fuzzer ended with {done.returncode}")
    return artifact.read_bytes() if artifact.exists() else None


def run_blind(target: Target, found: Path, seconds: int) -> bytes | None:
    """As `run_guided`, by chance alone."""
    random, inputs, end = Random(), target.inputs(), time.monotonic() + seconds
    while time.monotonic() < end:
        data = target.mutate(random.choice(inputs), random)
        if find_fault(target, data):
            return data
        if len(inputs) < 5000:
            inputs.append(data)
            (found / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return None


if __name__ == "__main__":
    sys.exit(main())
