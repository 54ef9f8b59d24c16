"""The pages' commands and programs are run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(150)]

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert found
    return "\n".join(found)


@pytest.mark.usefixtures("leftovers")
def test_the_commands_of_the_tutorial_run(environment: dict[str, str], tmp_path: Path) -> None:
    script = "set -e\n" + blocks("tutorial.md", "sh")
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=140,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("hello", "ended with 3", "PONG", "kept", "one", "exec true as 0:0"):
        assert word in done.stdout, done.stdout


def test_both_readmes_show_the_same_example() -> None:
    assert blocks("../README.md", "python") == blocks("../README.zh-CN.md", "python")


@pytest.mark.parametrize("page", ["../README.md", "python.md", "sandbox.md"])
@pytest.mark.usefixtures("leftovers")
def test_the_programs_of_a_page_run(page: str, environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks(page, "python")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=140,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("leftovers")
def test_the_example_of_the_testing_page_passes(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(blocks("testing.md", "python"))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "rundlet.pytest",
            "-p",
            "no:cacheprovider",
            "test_page.py",
        ],
        env=environment | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # an installed rundlet brings it by itself
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=140,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
