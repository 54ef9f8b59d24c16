"""The Python example in the READMEs is run as it stands, but for names that need the world outside."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet.cli.walk_place import Place

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(120)]

ROOT = Path(__file__).parent.parent.parent
PAGES = ("README.md", "README.zh-CN.md")


def read_example(page: str) -> str:
    found = re.search(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_both_pages_show_the_same_example() -> None:
    assert read_example(PAGES[0]) == read_example(PAGES[1])


def test_example_runs(place: Place, reference: str) -> None:
    settings = f"Settings(root={place.root!r}, run_root={place.run_root!r}, cni_conf_dir={place.conf_dir!r})"
    program = read_example("README.md").replace("Settings()", settings)
    program = program.replace("quay.io/crio/redis:alpine", reference)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("('10.88.0.2',) b'Redis server v=")
