"""CRI semantics over a real socket, engine and kernel (features the kubelet leans on)."""

import json
import os
import signal
import time

import grpc
import pytest

from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

UNKNOWN = "f" * 64


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("cri")


@pytest.fixture(scope="module")
def registry(base):
    from rundlet.registry.server import RegistryServer

    server = RegistryServer(str(base / "registry"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def daemon(base):
    from tests.cri.node import start_daemon

    daemon = start_daemon(base)
    yield daemon
    assert daemon.stop() == 0
    assert not os.path.exists(daemon.socket)


@pytest.fixture(scope="module")
def cri(base, registry, daemon):
    from tests.cri.node import Caller, publish_busybox

    with Client(daemon.endpoint) as client:
        caller = Caller(client, publish_busybox(registry.address, base), base / "logs")
        caller.PullImage(image={"image": caller.image})
        yield caller


@pytest.fixture
def pod(cri):
    pod_id = cri.run_pod()
    yield pod_id
    cri.StopPodSandbox(pod_sandbox_id=pod_id)
    cri.RemovePodSandbox(pod_sandbox_id=pod_id)


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_both_conditions_hold(cri):
    answer = cri.Status(verbose=True)
    assert {condition.type: condition.status for condition in answer.status.conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    assert "" in [handler.name for handler in answer.runtime_handlers]
    assert json.loads(answer.info["config"])["root"]


def test_pod_status_tells_what_was_asked(cri):
    annotations = {"a.b/c": 'quotes " and ünïcode', "empty": ""}
    config = cri.pod_config(labels={"app": "web"}, annotations=annotations)
    pod_id = cri.RunPodSandbox(config=config).pod_sandbox_id
    answer = cri.PodSandboxStatus(pod_sandbox_id=pod_id, verbose=True)
    assert answer.status.metadata == config.metadata
    assert dict(answer.status.annotations) == annotations
    assert answer.status.state == api.SANDBOX_READY
    assert answer.status.created_at > 0
    assert answer.status.network.ip.startswith("10.88.")
    assert os.path.exists(json.loads(answer.info["info"])["netnsPath"])
    cri.StopPodSandbox(pod_sandbox_id=pod_id)
    assert cri.PodSandboxStatus(pod_sandbox_id=pod_id).status.state == api.SANDBOX_NOTREADY
    cri.RemovePodSandbox(pod_sandbox_id=pod_id)
    with pytest.raises(NotFound):
        cri.PodSandboxStatus(pod_sandbox_id=pod_id)


def test_pod_status_has_its_containers(cri, pod):
    before_ns = time.time_ns()
    container_id = cri.start(pod, "busybox", "sleep", "1000")
    answer = cri.PodSandboxStatus(pod_sandbox_id=pod)
    assert [(one.id, one.state) for one in answer.containers_statuses] == [
        (container_id, api.CONTAINER_RUNNING)
    ]
    assert answer.timestamp > before_ns


def test_a_pods_name_is_taken_once(cri):
    config = cri.pod_config()
    pod_id = cri.RunPodSandbox(config=config).pod_sandbox_id
    with pytest.raises(AlreadyExists):
        cri.RunPodSandbox(config=config)
    cri.RemovePodSandbox(pod_sandbox_id=pod_id)
    again = cri.RunPodSandbox(config=config).pod_sandbox_id
    cri.RemovePodSandbox(pod_sandbox_id=again)


def test_the_life_of_a_container(cri, pod):
    container_id = cri.create(pod, "busybox", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert cri.status(container_id).state == api.CONTAINER_CREATED
    cri.StartContainer(container_id=container_id)
    with pytest.raises(FailedPrecondition):
        cri.StartContainer(container_id=container_id)
    wait_until(lambda: cri.status(container_id).state == api.CONTAINER_EXITED)
    status = cri.status(container_id)
    assert (status.exit_code, status.reason) == (3, "Error")
    assert 0 < status.created_at <= status.started_at <= status.finished_at
    with open(status.log_path) as log:
        assert sorted(line.split(" ", 1)[1] for line in log) == ["stderr F err\n", "stdout F out\n"]
    cri.RemoveContainer(container_id=container_id)
    with pytest.raises(NotFound):
        cri.status(container_id)


def test_image_ids_are_one_and_the_same(cri, pod):
    pulled = cri.PullImage(image={"image": cri.image}).image_ref
    container_id = cri.create(pod, "busybox", "true")
    [line] = cri.ListContainers(filter={"id": container_id}).containers
    assert pulled == cri.ImageStatus(image={"image": cri.image}).image.id
    assert pulled == line.image_id == cri.status(container_id).image_id


def test_exec(cri, pod):
    container_id = cri.start(pod, "busybox", "sleep", "1000")
    answer = cri.ExecSync(container_id=container_id[:12], cmd=["sh", "-c", "echo hi; echo no >&2; exit 5"])
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"hi\n", b"no\n", 5)
    with pytest.raises(InvalidArgument):
        cri.ExecSync(container_id=container_id, cmd=[])
    with pytest.raises(NotFound):
        cri.ExecSync(container_id=UNKNOWN, cmd=["true"])


def test_an_exec_that_takes_too_long_is_killed(cri, pod):
    container_id = cri.start(pod, "busybox", "sleep", "1000")
    with pytest.raises(DeadlineExceeded):
        cri.ExecSync(container_id=container_id, cmd=["sleep", "321"], timeout=1)
    listing = cri.ExecSync(container_id=container_id, cmd=["busybox", "ps"]).stdout
    assert b"sleep 321" not in listing


def test_exec_output_is_capped(cri, pod):
    container_id = cri.start(pod, "busybox", "sleep", "1000")
    answer = cri.ExecSync(container_id=container_id, cmd=["sh", "-c", "head -c 20000000 /dev/zero"])
    assert (len(answer.stdout), answer.exit_code) == (16 << 20, 0)


def test_verbose_status_names_the_process(cri, pod):
    container_id = cri.start(pod, "busybox", "sleep", "1000")
    info = json.loads(cri.ContainerStatus(container_id=container_id, verbose=True).info["info"])
    assert os.path.exists(f"/proc/{info['pid']}")
    assert info["runtimeSpec"]["process"]["args"] == ["busybox", "sleep", "1000"]


def test_a_rotated_log_is_reopened(cri, pod):
    container_id = cri.start(pod, "busybox", "sh", "-c", "while sleep 0.05; do echo tick; done")
    path = cri.status(container_id).log_path
    wait_until(lambda: os.path.getsize(path) > 0)
    os.rename(path, path + ".1")
    cri.ReopenContainerLog(container_id=container_id)
    assert os.path.exists(path), "the new file is there when the call returns"
    wait_until(lambda: os.path.getsize(path) > 0)


def test_limits_are_changed_and_told(cri, pod):
    container_id = cri.start(pod, "busybox", "sleep", "1000")
    cri.UpdateContainerResources(container_id=container_id, linux={"memory_limit_in_bytes": 64 << 20})
    assert cri.status(container_id).resources.linux.memory_limit_in_bytes == 64 << 20


def test_limits_of_a_pod_are_changed_and_told(cri, pod):
    cri.UpdatePodSandboxResources(
        pod_sandbox_id=pod, resources={"memory_limit_in_bytes": 64 << 20}, overhead={"cpu_shares": 10}
    )
    info = json.loads(cri.PodSandboxStatus(pod_sandbox_id=pod, verbose=True).info["info"])
    assert info["options"]["resources"] == {"memory_limit_bytes": 64 << 20}
    assert info["options"]["overhead"] == {"cpu_shares": 10}
    with pytest.raises(NotFound):
        cri.UpdatePodSandboxResources(pod_sandbox_id=UNKNOWN)


def test_a_checkpoint_that_cannot_be_is_refused(cri, pod, base):
    with pytest.raises(NotFound):
        cri.CheckpointContainer(container_id=UNKNOWN, location=f"{base}/checkpoint.tar")
    container_id = cri.create(pod, "busybox", "sleep", "1000")
    with pytest.raises(FailedPrecondition, match="it is created"):
        cri.CheckpointContainer(container_id=container_id, location=f"{base}/checkpoint.tar")
    for call in (cri.CheckpointPod, cri.RestorePod):
        with pytest.raises(Unimplemented):
            call()


def test_stats(cri, pod):
    container_id = cri.start(pod, "busybox", "sleep", "1000")
    stats = cri.ContainerStats(container_id=container_id).stats
    assert stats.attributes.id == container_id
    assert stats.cpu.timestamp > 0
    assert stats.memory.working_set_bytes.value > 0
    assert [item.attributes.id for item in cri.ListContainerStats(filter={"pod_sandbox_id": pod}).stats] == [
        container_id
    ]
    pod_stats = cri.PodSandboxStats(pod_sandbox_id=pod).stats
    assert [item.attributes.id for item in pod_stats.linux.containers] == [container_id]
    assert pod_stats.linux.network.default_interface.name == "eth0"


def test_lists_and_streams_agree(cri, pod):
    container_id = cri.create(pod, "busybox", "true")
    chunks = list(
        cri.client.runtime.StreamContainers(api.StreamContainersRequest(filter={"id": container_id}))
    )
    assert [item for chunk in chunks for item in chunk.containers] == list(
        cri.ListContainers(filter={"id": container_id}).containers
    )
    pods = [
        chunk.pod_sandboxes
        for chunk in cri.client.runtime.StreamPodSandboxes(api.StreamPodSandboxesRequest())
    ]
    assert pod in [item.id for chunk in pods for item in chunk]
    images = list(cri.client.images.StreamImages(api.StreamImagesRequest()))
    assert sum(len(chunk.images) for chunk in images) == len(cri.ListImages().images)


def test_events_tell_the_life_of_a_container(cri, pod):
    stream = cri.client.runtime.GetContainerEvents(api.GetEventsRequest(), timeout=30)
    stream.initial_metadata()  # the subscription stands
    container = cri.start(pod, "sleep", "100")
    cri.StopContainer(container_id=container, timeout=0)
    cri.RemoveContainer(container_id=container)
    told = []
    for event in stream:
        if event.container_id == container:
            told.append(event.container_event_type)
            assert event.pod_sandbox_status.id == pod
        if event.container_event_type == api.CONTAINER_DELETED_EVENT:
            break
    stream.cancel()
    assert told == [0, 1, 2, 3]


def test_metrics_have_as_many_labels_as_described(cri, pod):
    cri.start(pod, "sleep", "100")
    keys = {item.name: len(item.label_keys) for item in cri.ListMetricDescriptors().descriptors}
    assert len(keys) == 56
    (found,) = [item for item in cri.ListPodSandboxMetrics().pod_metrics if item.pod_sandbox_id == pod]
    metrics = [*found.metrics, *found.container_metrics[0].metrics]
    assert all(len(metric.label_values) == keys[metric.name] for metric in metrics)
    streamed = cri.client.runtime.StreamPodSandboxMetrics(api.StreamPodSandboxMetricsRequest())
    assert pod in [item.pod_sandbox_id for answer in streamed for item in answer.pod_sandbox_metrics]


@pytest.mark.parametrize("name", ["StopPodSandbox", "RemovePodSandbox", "StopContainer", "RemoveContainer"])
def test_ends_are_idempotent(cri, name):
    field = "pod_sandbox_id" if "Pod" in name else "container_id"
    getattr(cri, name)(**{field: UNKNOWN})


@pytest.mark.parametrize(
    "name", ["PodSandboxStatus", "ContainerStatus", "StartContainer", "ContainerStats", "PodSandboxStats"]
)
def test_what_is_unknown_is_not_found(cri, name):
    field = "pod_sandbox_id" if "Pod" in name else "container_id"
    with pytest.raises(NotFound):
        getattr(cri, name)(**{field: UNKNOWN})


def test_an_absent_image_is_no_error(cri):
    assert not cri.ImageStatus(image={"image": "localhost:1/absent"}).HasField("image")
    cri.RemoveImage(image={"image": "localhost:1/absent"})


def test_a_registry_that_is_away_is_told_the_kubelets_way(cri):
    with pytest.raises(Unavailable, match="^RegistryUnavailable: "):
        cri.PullImage(image={"image": "127.0.0.1:1/absent"})


def test_a_pull_ends_with_the_callers_deadline(cri):
    with pytest.raises(DeadlineExceeded):
        cri.PullImage(timeout_s=0.001, image={"image": cri.image})


def test_image_filesystems(cri):
    [usage] = cri.ImageFsInfo().image_filesystems
    assert usage.used_bytes.value > 0
    assert os.path.isdir(usage.fs_id.mountpoint)


def test_a_second_daemon_on_the_socket_is_refused(daemon, base):
    import subprocess
    import sys

    argv = [sys.executable, "-m", "rundlet.cri.daemon", "--socket", daemon.socket]
    argv += ["--root", str(base / "root2"), "--run-root", str(base / "run2")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert f"rundletd: another daemon answers on {daemon.socket}" in done.stderr


def test_a_killed_daemon_loses_nothing(tmp_path, base, registry):
    from tests.cri.node import Caller, publish_busybox, start_daemon

    first = start_daemon(tmp_path)
    with Client(first.endpoint) as client:
        cri = Caller(client, publish_busybox(registry.address, tmp_path), tmp_path / "logs")
        cri.PullImage(image={"image": cri.image})
        pod_id = cri.run_pod()
        container_id = cri.start(pod_id, "busybox", "sh", "-c", "echo one; sleep 1; echo two; exit 4")
        first.stop(signal.SIGKILL)
        with pytest.raises(grpc.RpcError):
            client.runtime.Version(api.VersionRequest(), timeout=5)
    second = start_daemon(tmp_path)
    with Client(second.endpoint) as client:
        cri = Caller(client, cri.image, tmp_path / "logs")
        wait_until(lambda: cri.status(container_id).state == api.CONTAINER_EXITED)
        assert cri.status(container_id).exit_code == 4
        with open(cri.status(container_id).log_path) as log:
            assert [line.split()[-1] for line in log] == ["one", "two"]
        cri.RemovePodSandbox(pod_sandbox_id=pod_id)
    assert second.stop() == 0
