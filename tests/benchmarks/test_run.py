"""The quickest figure, measured for real, and a page of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.page import results_path
from benchmarks.results import read_results

ROOT = Path(__file__).parents[2]


@pytest.mark.kernel
@pytest.mark.timeout(60)
def test_one_figure_is_measured_and_its_page_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "start", "--rounds", "1", "--into", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stdout + done.stderr
    measured = read_results(results_path(tmp_path)).figures["start"]
    assert len(measured.values_by_size("start", "rundlet")[0]) == 1
    assert "## OCI start" in (tmp_path / "performance.md").read_text("utf-8")
    assert (tmp_path / "performance" / "start.svg").exists()
    assert "create and start" in done.stdout


def test_a_figure_that_is_not_there_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "no-such"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "no such figure: no-such" in done.stderr
