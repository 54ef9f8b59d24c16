"""rundletd itself killed in the middle of a call, and the same call twice at once."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import Error
from rundlet.failpoint import FILE_BYTES, Failpoints
from tests.cri.node import Daemon, start_daemon

pytestmark = pytest.mark.kernel

CONFIG = api.PodSandboxConfig(metadata={"name": "pod", "namespace": "test", "uid": "u"})


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Failpoints:
    path = tmp_path / "failpoints"
    path.write_bytes(bytes(FILE_BYTES))
    monkeypatch.setenv("RUNDLET_FAILPOINTS", str(path))
    return Failpoints(str(path))


@pytest.fixture
def start(tmp_path: Path, points: Failpoints) -> Iterator[Callable[[], Daemon]]:
    daemons: list[Daemon] = []

    def start_one() -> Daemon:
        daemons.append(start_daemon(tmp_path))
        return daemons[-1]

    yield start_one
    assert daemons[-1].stop() == 0


def run_pod(daemon: Daemon) -> str:
    with Client(daemon.endpoint) as client:
        request = api.RunPodSandboxRequest(config=CONFIG)
        return client.call(client.runtime.RunPodSandbox, request, 30).pod_sandbox_id


def remove_pod(daemon: Daemon, pod_id: str) -> None:
    with Client(daemon.endpoint) as client:
        request = api.RemovePodSandboxRequest(pod_sandbox_id=pod_id)
        client.call(client.runtime.RemovePodSandbox, request, 30)
        assert not client.call(client.runtime.ListPodSandbox, api.ListPodSandboxRequest(), 30).items


def await_point(points: Failpoints) -> None:
    while not points.is_reached():
        os.sched_yield()


@pytest.mark.parametrize("point", ["pod.network:after", "pod.publish:after"])
def test_a_pod_of_a_killed_daemon_can_be_asked_for_again(
    start: Callable[[], Daemon], points: Failpoints, tmp_path: Path, point: str
) -> None:
    daemon = start()
    points.arm(point)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(run_pod, daemon)
        await_point(points)
        daemon.process.kill()
        daemon.process.communicate()
        points.let_go()
        with pytest.raises(Error):
            asked.result(20)
    second = start()
    remove_pod(second, run_pod(second))
    assert not list((tmp_path / "leases" / "pods").glob("10.88.*"))


def test_a_second_call_waits_for_the_first_and_gets_its_pod(
    start: Callable[[], Daemon], points: Failpoints
) -> None:
    daemon = start()
    points.arm("pod.network:before")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run_pod, daemon)
        await_point(points)
        points.take_passed()
        second = pool.submit(run_pod, daemon)
        while "twin.wait:before" not in points.take_passed():
            os.sched_yield()
        assert not first.done()
        points.let_go()
        assert second.result(20) == first.result(20)
    remove_pod(daemon, first.result())


@pytest.mark.parametrize("point", ["pod.namespaces:before", "bridge.veth:before", "pod.publish:before"])
def test_a_failed_pod_leaves_nothing_and_its_name(
    start: Callable[[], Daemon], points: Failpoints, tmp_path: Path, point: str
) -> None:
    daemon = start()
    points.arm(point, 28)  # ENOSPC
    with pytest.raises(Error):
        run_pod(daemon)
    assert points.is_reached()
    assert not list((tmp_path / "leases" / "pods").glob("10.88.*"))
    assert os.listdir(tmp_path / "run" / "pods") == []
    assert not [name for name in os.listdir("/sys/class/net") if name.startswith("veth")]
    remove_pod(daemon, run_pod(daemon))
