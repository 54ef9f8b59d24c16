"""Kubernetes' CRI conformance suite (critest) against rundletd.

    nox -s conformance [-- --work DIR]

The rig lies beside the project (../shared/rig, its README says what it needs).
Without the rig this says so and ends well.  Results: .cache/conformance/.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RIG = ROOT.parent / "shared" / "rig"
# The names in braces are filled in by the rig's with_runtime.py.
DAEMON = (
    f"{sys.executable} -m rundlet.cri.daemon --socket {{socket}} --root {{work}}/root --run-root {{work}}/run"
    " --cni-conf {cni_conf} --cni-bin {cni_bin}"
)


def rig(script: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(RIG / script), *arguments)


def make_images(work: Path) -> None:
    """The offline registry that critest's images come from; made once."""
    images = work / "images"
    if (images / "refs.json").exists():
        return
    subprocess.run(rig("make_test_images.py", "--out", str(images)), check=True)
    push = rig("make_test_images.py", "--out", str(images), "--no-build", "--push", "http://127.0.0.1:5000")
    registry = ("--work", str(work / "node"), "--registry", str(images / "registry"))
    subprocess.run((*rig("rigns.py", *registry), "--", *push), check=True)


def run_suite(work: Path, critest_arguments: list[str]) -> int:
    images = work / "images"
    command = (
        *rig("rigns.py", "--timeout", "1500", "--work", str(work / "node"), "--registry", str(images / "registry")),
        "--", *rig("with_runtime.py", "--kind", "custom", "--work", str(work / "state"), "--daemon", DAEMON),
        "--", *rig("run_critest.py", "--label", "rundlet", "--out", str(work / "results"),
                   "--refs", str(images / "refs.json")),
        *critest_arguments,
    )  # fmt: skip
    return subprocess.run(command, check=False, env=os.environ).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "conformance")
    options, rest = parser.parse_known_args()
    if not RIG.is_dir():
        print(f"no rig at {RIG}: nothing to run")
        return 0
    options.work.mkdir(parents=True, exist_ok=True)
    make_images(options.work)
    return run_suite(options.work, rest)


if __name__ == "__main__":
    sys.exit(main())
