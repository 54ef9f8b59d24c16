"""Rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "rundlet").rglob("*.py"))
GENERATED = re.compile(r"_pb2(_grpc)?\.py$|syscall_tables\.py$")
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
LINES_MAX = 600
MAKE_TARGETS = {"walk", "test", "lint", "bench", "docs"}


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=str)
def test_package_roots_hold_only_a_docstring(path: Path) -> None:
    body = ast.parse(path.read_text("utf-8")).body
    if path.parent.name != "rundlet":  # the top one says where the public names are, and imports none of them
        assert len(body) <= 1
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in SOURCES
        if not GENERATED.search(path.name)
        and (count := len(path.read_text("utf-8").splitlines())) > LINES_MAX
    }
    assert not long


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_are_hashed_and_name_no_host(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert "://" not in text
    for requirement in re.split(r"\n(?=[a-z0-9])", text):
        if "==" in requirement:
            assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_make_has_its_five_targets_and_no_other() -> None:
    rules = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert set(rules) == MAKE_TARGETS
