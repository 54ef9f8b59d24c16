"""Every target: what is kept of earlier runs holds, and what a fixed seed makes of it.  `nox -s fuzz` goes on."""

from random import Random

import pytest

from tests.fuzz.target import Target, list_targets, load, play

RUNS = {"tar": 80, "log": 300, "websocket": 300}
USUAL_RUNS = 600


@pytest.fixture(params=list_targets())
def target(request: pytest.FixtureRequest) -> Target:
    return load(request.param)


def test_what_is_kept_of_earlier_runs_holds(target: Target) -> None:
    for data in target.inputs():
        play(target, data)


def test_what_is_right_is_read(target: Target) -> None:
    """A target whose seeds are all refused looks at nothing."""
    read = 0
    for data in target.seeds:
        try:
            target.check(data)
            read += 1
        except Exception:  # noqa: BLE001  told by the others
            continue
    assert read


def test_what_chance_makes_of_it_holds(target: Target) -> None:
    random = Random(target.name)
    inputs = target.inputs()
    for _ in range(RUNS.get(target.name, USUAL_RUNS)):
        data = target.mutate(random.choice(inputs), random)
        try:
            play(target, data)
        except BaseException as error:
            error.add_note(f"the input: {data!r}")
            raise
