"""The limits of a pod as a whole, in its group."""

from pathlib import Path

import pytest

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions, Resources
from rundlet.errors import Error, FailedPrecondition

pytestmark = pytest.mark.kernel

MIB = 1 << 20
LIMITS = Resources(memory_limit_bytes=64 * MIB, cpu_quota_us=50_000, cpu_period_us=100_000)
OVERHEAD = Resources(memory_limit_bytes=16 * MIB)


def read_limit(path: str) -> str:
    layout = detect_layout()
    file = "memory.limit_in_bytes" if layout.version == 1 else "memory.max"
    return Path(Group(layout, path).directory("memory"), file).read_text().strip()


def test_resources_and_overhead_are_the_groups(empty_engine: Engine) -> None:
    pod = empty_engine.pods.run(PodOptions("p", resources=LIMITS, overhead=OVERHEAD))
    assert read_limit(f"/engine-test/{pod}") == str(80 * MIB)
    empty_engine.pods.update_resources(pod, Resources(memory_limit_bytes=128 * MIB), Resources())
    assert read_limit(f"/engine-test/{pod}") == str(144 * MIB)
    kept = empty_engine.pods.status(pod).options
    assert (kept.resources.memory_limit_bytes, kept.resources.cpu_quota_us) == (128 * MIB, 50_000)
    assert kept.overhead == OVERHEAD


def test_a_limit_that_cannot_be_leaves_all_as_it_was(empty_engine: Engine) -> None:
    pod = empty_engine.pods.run(PodOptions("p", resources=LIMITS))
    with pytest.raises(Error):
        empty_engine.pods.update_resources(
            pod, Resources(memory_limit_bytes=32 * MIB, cpuset_cpus="4000"), Resources()
        )
    assert read_limit(f"/engine-test/{pod}") == str(64 * MIB)
    assert empty_engine.pods.status(pod).options.resources == LIMITS


def test_a_group_of_others_keeps_its_limits(empty_engine: Engine) -> None:
    """Kubelet's own group says more than the sum of the containers' limits."""
    parent = Group(detect_layout(), "/others")
    parent.make()
    before = read_limit("/others")
    try:
        pod = empty_engine.pods.run(PodOptions("p", cgroup_parent="/others", resources=LIMITS))
        empty_engine.pods.update_resources(pod, Resources(memory_limit_bytes=32 * MIB), Resources())
        assert read_limit("/others") == before
        assert empty_engine.pods.status(pod).options.resources.memory_limit_bytes == 32 * MIB
        empty_engine.pods.remove(pod)
    finally:
        parent.remove()


def test_a_pods_limit_holds_for_its_containers(engine: Engine, image: str) -> None:
    pod = engine.pods.run(PodOptions("p", resources=Resources(memory_limit_bytes=64 * MIB)))
    container = engine.containers.create(
        pod,
        ContainerOptions("c", image, command=("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")),
    )
    with engine.feed.subscribe() as events:
        engine.containers.start(container)
        next(event for event in events if (event.id, event.change) == (container, "stopped"))
    assert engine.containers.status(container).exit_code == 137


def test_a_stopped_pod_is_not_updated(empty_engine: Engine) -> None:
    pod = empty_engine.pods.run(PodOptions("p"))
    empty_engine.pods.stop(pod)
    with pytest.raises(FailedPrecondition):
        empty_engine.pods.update_resources(pod, LIMITS, Resources())
