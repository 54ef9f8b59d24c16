"""What the matrix has found, each by its symptom."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.conftest import make_stage
from tests.crash.scenes import SCENES, find_scene
from tests.crash.stage import Crash, Stage

pytestmark = pytest.mark.kernel

Survive = Callable[..., None]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, registry: str) -> Iterator[Stage]:
    """One for all: whoever leaves something spoils it for the others."""
    with make_stage(tmp_path_factory.mktemp("stage"), registry) as made:
        made.list_points(SCENES[0].acts)
        yield made


@pytest.fixture
def survive(stage: Stage) -> Survive:
    def play(act: str, point: str, what: str) -> None:
        acts = find_scene("pod").acts
        number = [one.__name__ for one in acts].index(act)
        before = stage.take_traces()
        stage.play(acts, Crash(number, point, what))
        assert stage.find_leftovers(before) == []

    return play


def test_a_pod_whose_init_nobody_lived_to_note_frees_its_name_and_its_process(survive: Survive) -> None:
    survive("run_pod", "keeper.pod-note-init:before", "keeper")


@pytest.mark.parametrize("step", ["pod-init.slave", "pod-init.tell", "keeper.pod-note-init"])
def test_an_init_that_fails_on_its_way_is_no_zombie(survive: Survive, step: str) -> None:
    survive("run_pod", f"{step}:before", "ENOSPC")


def test_a_pod_made_by_an_engine_that_died_before_it_could_say_so_is_not_taken(survive: Survive) -> None:
    survive("run_pod", "pod.publish:after", "engine")


def test_a_container_made_by_an_engine_that_died_before_it_could_say_so_is_not_taken(
    survive: Survive,
) -> None:
    survive("create", "container.publish:after", "all")


@pytest.mark.parametrize("victim", ["supervisor", "anchor", "keeper"])
def test_a_start_under_which_the_keeper_dies_is_no_failed_start(survive: Survive, victim: str) -> None:
    survive("start", "keeper.gate:after", victim)


def test_a_start_that_could_not_be_recorded_can_be_asked_for_again(survive: Survive) -> None:
    survive("start", "container.mark-started:before", "ENOMEM")


def test_a_start_whose_answer_nobody_heard_can_be_asked_for_again(survive: Survive) -> None:
    survive("start", "container.mark-started:after", "engine")


def test_a_start_that_cannot_be_noted_does_not_end_the_container(survive: Survive) -> None:
    survive("start", "keeper.note-starting:before", "ENOSPC")


def test_an_exec_that_cannot_be_noted_is_killed_and_reaped(survive: Survive) -> None:
    survive("execute", "keeper.note-exec:before", "ENOSPC")


def test_a_delete_that_fails_is_answered_once_and_can_be_asked_for_again(survive: Survive) -> None:
    survive("remove", "keeper.remove-cgroup:before", "ENOSPC")


def test_a_snapshot_that_cannot_be_removed_goes_with_the_next_call(survive: Survive) -> None:
    survive("remove", "snapshot.remove:before", "ENOMEM")


def test_an_init_is_reaped_when_its_pods_namespaces_stay(survive: Survive) -> None:
    survive("stop_pod", "keeper.pod-unpin-ipc:before", "EIO")


def test_a_bridge_that_cannot_be_removed_in_the_background_goes_with_the_pod(survive: Survive) -> None:
    survive("stop_pod", "network.retire:before", "ENOMEM")


def test_what_an_oci_runtime_makes_above_a_containers_cgroup_goes_with_the_pod(
    stage: Stage, tmp_path: Path
) -> None:
    scene = find_scene("runc")
    if missing := scene.missing(str(tmp_path)):
        pytest.skip(f"{missing} not on this host")
    stage.list_points(scene.acts)  # the runtime's features are kept from now on
    before = stage.take_traces()
    stage.list_points(scene.acts)
    assert stage.find_leftovers(before) == []
