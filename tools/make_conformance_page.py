"""docs/conformance.md from the results that tools/run_conformance.py left.

    nox -s conformance-page

One table for the runs, one for each group of specs.  Needs a result of every run.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / ".cache" / "conformance" / "results"
PAGE = ROOT / "docs" / "conformance.md"
RUNS = ("serial", "parallel", "websocket")
# A spec's name is its group's, its contexts' and its own in one; these are the suite's groups.
GROUPS = (
    "AppArmor", "Container Mount Propagation", "Container Mount Readonly", "Container OOM",
    "Container benchmark", "Container", "Idempotence", "Image Consistency", "Image Identifier Consistency",
    "Image Manager", "Image benchmark", "Multiple Containers", "Networking", "PodSandbox benchmark",
    "PodSandbox", "Runtime info", "Security Context NamespaceOption", "Security Context NoNewPrivs",
    "Security Context SeccompProfilePath", "Security Context SupplementalGroupsPolicy",
    "Security Context UserNamespaces", "Security Context bucket", "Streaming",
)  # fmt: skip
HEAD = """# Conformance

Kubernetes' CRI conformance suite, critest v1.36, against `rundletd` on a host without AppArmor (cgroup
version 1), serially, with four workers at once, and its streaming specs over WebSocket in place of SPDY.
`nox -s conformance` runs it, `nox -s conformance-page` makes this page from the results: do not edit it.
"""

Specs = dict[str, str]


def read_run(name: str) -> tuple[Specs, float]:
    """State by spec name, and the seconds the run took."""
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    specs = {spec["name"]: spec["state"] for spec in document["specs"]}
    if name == "websocket":
        specs = {spec: state for spec, state in specs.items() if state != "skipped"}
    return specs, document["wall_s"]


def find_group(spec: str) -> str:
    bare = spec.removeprefix("[k8s.io] ")
    found = [group for group in GROUPS if bare.startswith(group + " ")]
    return max(found, key=len) if found else bare.partition(" ")[0]


def count(specs: Specs, state: str) -> int:
    return sum(found == state for found in specs.values())


def runs_table(runs: dict[str, tuple[Specs, float]]) -> str:
    lines = ["| run | passed | failed | skipped | seconds |", "|---|---|---|---|---|"]
    for name, (specs, wall_s) in runs.items():
        passed, skipped = count(specs, "passed"), count(specs, "skipped")
        lines.append(f"| {name} | {passed} | {len(specs) - passed - skipped} | {skipped} | {wall_s:.0f} |")
    return "\n".join(lines)


def group_table(group: str, names: list[str], runs: dict[str, tuple[Specs, float]]) -> str:
    lines = [f"## {group}", "", "| spec | " + " | ".join(RUNS) + " |", "|---|" + "---|" * len(RUNS)]
    for name in names:
        states = (specs.get(name, "") for specs, _ in runs.values())
        text = name.removeprefix("[k8s.io] ").removeprefix(group).removesuffix("[Conformance]").strip()
        lines.append(f"| {text.replace('|', chr(92) + '|')} | " + " | ".join(states) + " |")
    return "\n".join(lines)


def make_page() -> str:
    runs = {name: read_run(name) for name in RUNS}
    groups: dict[str, list[str]] = {}
    for name in sorted(runs["serial"][0]):
        groups.setdefault(find_group(name), []).append(name)
    tables = (group_table(group, names, runs) for group, names in sorted(groups.items()))
    return "\n\n".join((HEAD.rstrip(), runs_table(runs), *tables)) + "\n"


def main() -> int:
    missing = [name for name in RUNS if not (RESULTS / f"{name}.json").exists()]
    if missing:
        print(f"no result of {', '.join(missing)} in {RESULTS}: run nox -s conformance first")
        return 1
    PAGE.write_text(make_page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
