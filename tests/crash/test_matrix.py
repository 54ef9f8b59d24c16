"""Killed, or out of disk, descriptors or memory, at every named step: nothing is lost and nothing is left.

RUNDLET_CRASHES says how many crashes each part of a scene plays, taken by chance from all there are,
always the same ones: 6 in `make test`; "all" in `nox -s crash`; "2/30" is the third of 30 slices of all; any
other text is a regular expression, and those are played in whose line ("create keeper.clone:before
supervisor") it is found.  The points that were come to are counted in a table at the end (`tally`).
"""

import ast
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rundlet
from rundlet.plan.steps import KINDS
from tests.crash.scenes import SCENES, Scene, find_scene
from tests.crash.stage import ITSELF, Crash, Stage, list_crashes
from tests.crash.tally import PROPERTY, Outcome, Tally

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(7200)]

CRASHES = os.environ.get("RUNDLET_CRASHES", "6")
PARTS = [(scene, part) for scene in SCENES for part in range(scene.parts)]
ROOMS = ("engine", "keeper", "runtime")
# What no scene comes to, and why.
UNREACHED = {
    "twin.wait": "two calls at once: tests/engine/test_twins.py",
    "lock.wait": "two calls at once: tests/engine/test_locks.py",
    "keeper.start-minder": "nobody asks for a minder: tests/local/test_minder_crashes.py",
    "keeper.note-minder": "likewise",
    "keeper.forget-minder": "likewise",
    "container.kill-rest": "no client of CRI asks for it; tests/local have those that do",
    "container.revive": "likewise",
    "keeper.visit": "of a supervisor that could not return from a namespace, an ordinary user's: tests/rootless",
    "undo": "comes after failures, of which the matrix has plenty",
}


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    missing = request.param.missing(str(tmp_path))
    if missing:
        pytest.skip(f"{missing} not on this host")
    return request.param


def choose(crashes: list[Crash], scene: Scene, part: int) -> list[Crash]:
    mine = crashes[part :: scene.parts]
    if CRASHES == "all":
        return mine
    if CRASHES.isdecimal():
        return sorted(random.Random(f"{scene.name} {part}").sample(mine, min(int(CRASHES), len(mine))))
    if re.fullmatch(r"\d+/\d+", CRASHES):
        number, slices = map(int, CRASHES.split("/"))
        return mine[number::slices]
    return [crash for crash in mine if re.search(CRASHES, crash.describe(scene.acts))]


@pytest.mark.parametrize(
    ("scene", "part"), PARTS, indirect=["scene"], ids=[f"{scene.name}-{part}" for scene, part in PARTS]
)
def test_a_crash_loses_nothing_and_leaves_nothing(
    stage: Stage, scene: Scene, part: int, record_property: Callable[[str, object], None]
) -> None:
    stage.list_points(scene.acts)  # what stays for good, such as a compiled filter, is there from now on
    before = stage.take_traces()
    crashes = list_crashes(stage.list_points(scene.acts))
    assert stage.find_leftovers(before) == []
    failures, tally = [], Tally()
    for crash in choose(crashes, scene, part):
        failure = play(stage, scene, crash, before)
        tally.add([(scene.name, crash.what, judge(stage, failure), 1)])
        if failure:
            failures.append(f"{crash.describe(scene.acts)}: {failure}")
            stage.clear()
            stage.list_points(scene.acts)  # what stays for a while, such as the bridge, is there again
            before = stage.take_traces()
    record_property(PROPERTY, tally.counts())
    assert not failures, "\n".join(failures)
    stage.close()
    assert stage.await_no_keeper()


def judge(stage: Stage, failure: str) -> Outcome:
    if failure:
        return "failed"
    return "passed" if stage.has_struck else "missed"


@pytest.mark.parametrize(
    ("act", "point"),
    [(0, "pod.publish:before"), (1, "container.publish:before"), (7, "pod.remove-files:before")],
)
def test_a_crash_while_recovering_is_recovered_from(stage: Stage, act: int, point: str) -> None:
    acts = SCENES[0].acts
    crash = Crash(act, point, "engine")
    stage.play_recovery(acts, crash)
    before = stage.take_traces()
    passed = sorted(stage.play_recovery(acts, crash))
    chosen = random.Random(point).sample(passed, min(4, len(passed))) if CRASHES.isdecimal() else passed
    failures = []
    for second in sorted(chosen):
        stage.play_recovery(acts, crash, second)
        left = stage.find_leftovers(before)
        failures += [f"{second}: {left}"] if left else []
    assert failures == []


STARTING = ("keeper.launch", "anchor.listen", "anchor.ready", "keeper.restore")
LEAVING = ("keeper.leave", *(f"anchor.remove-{name}" for name in ("sock", "journal", "log", "lock")))
SIDES = ("before", "after")


def some(crashes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    chosen = random.Random("keeper").sample(crashes, 3) if CRASHES.isdecimal() else crashes
    return sorted(chosen)


def test_a_keeper_that_is_cut_off_while_it_starts_is_started_again(stage: Stage) -> None:
    acts = find_scene("terminal").acts
    stage.list_points(acts)
    before = stage.take_traces()
    for point, what in some(
        [(f"{name}:{side}", what) for name in STARTING for side in SIDES for what in (ITSELF, "engine")]
        + [(f"{name}:before", "ENOSPC") for name in STARTING]
    ):
        stage.close()
        assert stage.await_no_keeper()
        stage.play(acts, Crash(0, point, what))
        assert stage.find_leftovers(before) == [], (point, what)


def test_a_keeper_that_is_cut_off_while_it_leaves_is_in_nobodys_way(stage: Stage) -> None:
    """It ends at the point, or goes on when a client has come meanwhile."""
    acts = find_scene("terminal").acts
    stage.list_points(acts)
    before = stage.take_traces()
    for point, what in some(
        [(f"{name}:{side}", what) for name in LEAVING for side in SIDES for what in ("ends", "is asked")]
    ):
        stage.leave_and_play(acts, point, ends=what == "ends")
        assert stage.find_leftovers(before) == [], (point, what)
    stage.close()
    assert stage.await_no_keeper()


def play(stage: Stage, scene: Scene, crash: Crash, before: object) -> str:
    """What went wrong; empty when nothing did."""
    try:
        ids = stage.play(scene.acts, crash)
        if "hung_up" in ids and crash.what not in ("keeper", "all"):
            return f"the container ended with its terminal: {ids['hung_up']}"
        if scene.reopens:
            stage.reopen()
    except AssertionError as error:
        return str(error)
    left = stage.find_leftovers(before)
    return f"left behind: {left}" if left else ""


def list_named_steps() -> Iterator[str]:
    """Every name in a call of step(); what is put in at run time matches anything."""
    for room in ROOMS:
        for path in Path(rundlet.__file__).with_name(room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("step", "named", "mark"):
                    yield from read_name(node.args[0])


def read_name(argument: ast.expr) -> Iterator[str]:
    if isinstance(argument, ast.Constant):
        yield re.escape(argument.value)
    elif isinstance(argument, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else None for part in argument.values)
        yield "".join(".+" if part is None else re.escape(part) for part in parts)


def test_every_named_step_is_passed_by_a_scene(stage: Stage, tmp_path: Path) -> None:
    scenes = [scene for scene in SCENES if not scene.missing(str(tmp_path))]
    if len(scenes) < len(SCENES):
        pytest.skip("some scenes need what is not on this host")
    points = [point for scene in scenes for _, point in stage.list_points(scene.acts)]
    stage.close()
    stage.await_no_keeper()
    passed = {point.partition(":")[0] for point in (*points, *stage.points.take_passed())}
    named = set(list_named_steps()) - {re.escape(name) for name in UNREACHED}
    missed = [name for name in sorted(named) if not any(re.fullmatch(name, one) for one in passed)]
    assert missed == [], "no scene passes " + ", ".join(missed)


def test_points_are_made_from_the_steps_of_the_plan(stage: Stage) -> None:
    points = stage.list_points(SCENES[0].acts)
    assert len(list_crashes(points)) > 1000
    assert len({point.partition(":")[0] for _, point in points} & KINDS.keys()) > 10
