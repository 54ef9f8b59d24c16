"""One test a check; the checks themselves are in tests/vm/checks and run inside the guest.

The groups are guests: two of them can run at once (nox -s vm).
"""

import ast
from pathlib import Path

import pytest

CHECKS = Path(__file__).parent / "checks"

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]


def names(kind: str) -> list[str]:
    tree = ast.parse((CHECKS / f"{kind}.py").read_text())
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name.removeprefix("check_") for name in functions if name.startswith("check_")]


GUESTS = ("unified", "systemd", "hybrid", "checkpoint", "kubelet", "selinux", "engine")
CHECKED = [
    pytest.param(kind, check, marks=pytest.mark.xdist_group(kind)) for kind in GUESTS for check in names(kind)
]


@pytest.mark.parametrize(("kind", "check"), CHECKED)
def test_in_a_guest(results, kind, check):
    found = results(kind)
    assert found[check].startswith("ok"), found[check]
