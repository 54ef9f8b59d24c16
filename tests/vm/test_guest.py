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


@pytest.mark.xdist_group("unified")
@pytest.mark.parametrize("check", names("unified"))
def test_cgroup_version_2(results, check):
    found = results("unified")
    assert found[check].startswith("ok"), found[check]


@pytest.mark.xdist_group("systemd")
@pytest.mark.parametrize("check", names("systemd"))
def test_systemd(results, check):
    found = results("systemd")
    assert found[check].startswith("ok"), found[check]


@pytest.mark.xdist_group("hybrid")
@pytest.mark.parametrize("check", names("hybrid"))
def test_hybrid_host(results, check):
    found = results("hybrid")
    assert found[check].startswith("ok"), found[check]


@pytest.mark.xdist_group("checkpoint")
@pytest.mark.parametrize("check", names("checkpoint"))
def test_checkpoint_and_restore(results, check):
    found = results("checkpoint")
    assert found[check].startswith("ok"), found[check]


@pytest.mark.xdist_group("kubelet")
@pytest.mark.parametrize("check", names("kubelet"))
def test_pods_in_slices(results, check):
    found = results("kubelet")
    assert found[check].startswith("ok"), found[check]


@pytest.mark.xdist_group("selinux")
@pytest.mark.parametrize("check", names("selinux"))
def test_engine_with_selinux(results, check):
    found = results("selinux")
    assert found[check].startswith("ok"), found[check]


@pytest.mark.xdist_group("engine")
@pytest.mark.parametrize("check", names("engine"))
def test_engine(results, check):
    found = results("engine")
    assert found[check].startswith("ok"), found[check]
