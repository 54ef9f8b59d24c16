"""Named steps and those who watch them."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet import failpoint, step

WATCHED = """
import sys
from rundlet import step
told = []

class Note:
    def __init__(self, who, name, subject):
        self.text = f"{who} {name} {subject}"
    def __enter__(self):
        told.append(f"{self.text} begins")
    def __exit__(self, kind, error, trace):
        told.append(f"{self.text} ends {kind.__name__ if kind else 'well'}")
        return True  # has no say in what goes on

step.watch(lambda *what: Note("first", *what))
step.watch(lambda *what: Note("second", *what))
try:
    with step.step("pod.network", "p1"):
        raise KeyError
except KeyError:
    told.append("raised")
print(told)
"""

AT_WORK = """
import sys
from rundlet.step import step
for name in sys.argv[1:]:
    with step(name):
        print(name, flush=True)
"""


def run(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def points(tmp_path: Path) -> failpoint.Failpoints:
    path = tmp_path / "points"
    path.write_bytes(bytes(failpoint.FILE_BYTES))
    return failpoint.Failpoints(str(path))


def test_an_unwatched_step_changes_nothing():
    with pytest.raises(KeyError), step.step("pod.network", "p1"):
        raise KeyError


def test_observers_are_nested_and_cannot_swallow_an_error():
    told, _ = run(WATCHED).communicate(timeout=20)
    what = "pod.network p1"
    assert told.strip() == str(
        [
            f"first {what} begins",
            f"second {what} begins",
            f"second {what} ends KeyError",
            f"first {what} ends KeyError",
            "raised",
        ]
    )


def test_every_point_that_was_passed_is_told_once(points, tmp_path):
    with run(AT_WORK, "b.a", "a", "a", RUNDLET_FAILPOINTS=str(tmp_path / "points")) as process:
        process.wait(20)
    assert points.take_passed() == {"b.a:before", "b.a:after", "a:before", "a:after"}
    assert points.take_passed() == set()


def test_an_armed_point_raises_once(points, tmp_path):
    points.arm("b:before", errno.ENOSPC)
    process = run(AT_WORK, "a", "b", "c", RUNDLET_FAILPOINTS=str(tmp_path / "points"))
    told, errors = process.communicate(timeout=20)
    assert told.split() == ["a"]
    assert "No space left on device" in errors
    assert points.is_reached()


def test_a_process_waits_at_an_armed_point_until_it_may_go_on(points, tmp_path):
    points.arm("a:after")
    process = run(AT_WORK, "a", "b", RUNDLET_FAILPOINTS=str(tmp_path / "points"))
    assert process.stdout.readline() == "a\n"
    while not points.is_reached():
        pass
    assert process.poll() is None
    points.let_go()
    assert process.communicate(timeout=20)[0] == "b\n"
