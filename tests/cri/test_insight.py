"""What the daemon tells of itself: over the socket, through the command line, and by its records when it is gone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import grpc
import pytest

from rundlet.cri.client import Client
from rundlet.cri.errors import error_from_call
from rundlet.cri.insight import InsightStub, TraceRequest, WhyRequest
from rundlet.errors import NotFound
from rundlet.registry.server import RegistryServer
from tests.cri.node import Caller, publish_busybox, start_daemon

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("insight")


@pytest.fixture(scope="module")
def image(base):
    server = RegistryServer(str(base / "registry"))
    server.start()
    yield publish_busybox(server.address, base)
    server.stop()


@pytest.fixture(scope="module")
def daemon(base):
    daemon = start_daemon(base)
    yield daemon
    daemon.stop()


@pytest.fixture(scope="module")
def caller(daemon, image, base):
    with Client(daemon.endpoint) as client:
        caller = Caller(client, image, base)
        caller.PullImage(image={"image": image})
        yield caller
        for pod in caller.ListPodSandbox().items:
            caller.RemovePodSandbox(pod_sandbox_id=pod.id)


@pytest.fixture(scope="module")
def stub(caller):
    return InsightStub(caller.client.channel)


def rundlet(daemon, *arguments):
    argv = [sys.executable, "-m", "rundlet.cli.main", "-r", daemon.endpoint, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)


def await_text(path):
    deadline = time.monotonic() + 20
    while not os.path.getsize(path):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def stop_slowly(caller):
    """A container that is being stopped and takes its time; its id and the thread."""
    pod_id = caller.run_pod()
    container_id = caller.start(pod_id, "sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")
    await_text(caller.status(container_id).log_path)
    arguments = {"timeout_s": 30, "container_id": container_id, "timeout": 20}
    thread = threading.Thread(target=caller.StopContainer, kwargs=arguments)
    thread.start()
    return container_id, thread


def await_stuck(stub, container_id):
    deadline = time.monotonic() + 20
    while True:
        (account,) = stub.Why(WhyRequest(container_id))
        if account.running and account.running[0].steps[-1] == "keeper.wait":
            return account
        assert time.monotonic() < deadline, account
        time.sleep(0.01)


def test_a_slow_stop_is_told_by_service_command_and_status(daemon, caller, stub):
    container_id, stop = stop_slowly(caller)
    account = await_stuck(stub, container_id)
    assert account.running[0].operation == "StopContainer"
    said = rundlet(daemon, "why", container_id[:10])
    assert said.returncode == 0, said.stderr
    assert "StopContainer container" in said.stdout
    assert "waits for process" in said.stdout
    assert "StopContainer" in rundlet(daemon, "why").stdout
    info = caller.ContainerStatus(container_id=container_id, verbose=True).info
    why = json.loads(info["why"])
    assert why["accounts"][0]["running"][0]["waits"][0]["kind"] == "process"
    assert any("waits for process" in line for line in why["text"])
    assert "StopContainer" in json.loads(caller.Status(verbose=True).info["why"])["accounts"][0]["name"]
    caller.StopContainer(container_id=container_id, timeout=0)
    stop.join()
    assert "exit code 137" in rundlet(daemon, "why", container_id).stdout


def test_crictl_shows_it_in_its_status(daemon, caller):
    if shutil.which("crictl") is None:
        pytest.skip("crictl not on this host")
    pod_id = caller.run_pod()
    container_id = caller.start(pod_id, "sh", "-c", "exit 4")
    while caller.status(container_id).exit_code != 4:
        os.sched_yield()
    argv = ["crictl", "-r", daemon.endpoint, "inspect", container_id]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    assert "it ended with exit code 4 (Error)" in json.loads(shown)["why"]["text"][1]


def test_a_start_is_a_tree_of_steps_and_a_chrome_file(daemon, caller, base):
    pod_id = caller.run_pod()
    shown = rundlet(daemon, "trace", pod_id)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("RunPodSandbox")
    for name in ("run pod test/", "pod.reserve", "network.add.bridge", "keeper.make_pod", "pod.publish"):
        assert any(f"─ {name}" in line for line in lines), name
    chrome = base / "trace.json"
    assert rundlet(daemon, "trace", "--chrome", str(chrome), pod_id).returncode == 0
    events = json.loads(chrome.read_text())["traceEvents"]
    assert {"RunPodSandbox", "pod.reserve"} <= {event["name"] for event in events}


def test_a_trace_is_followed(daemon, caller):
    argv = [sys.executable, "-m", "rundlet.cli.main", "-r", daemon.endpoint, "trace", "--follow", "--failed"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as follower:
        # What is said only after it listens must still be heard: keep failing until it shows.
        seen = []
        reader = threading.Thread(target=lambda: seen.append(follower.stdout.readline()))
        reader.start()
        while reader.is_alive():
            with pytest.raises(NotFound):
                caller.StartContainer(container_id="ffff")
            reader.join(0.05)
        follower.send_signal(signal.SIGINT)
    assert "StartContainer" in seen[0]
    assert "failed" in seen[0]


def test_unknown_names_are_an_error(daemon, stub):
    with pytest.raises(grpc.RpcError) as failure:
        stub.Why(WhyRequest("nobody"))
    assert isinstance(error_from_call(failure.value), NotFound)
    done = rundlet(daemon, "why", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing here is called 'nobody'" in done.stderr
    done = rundlet(daemon, "trace", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no step of 'nobody' is kept" in done.stderr


def test_a_stream_that_is_left_frees_its_thread(stub):
    for _ in range(100):  # more than the server has threads
        stream = stub.Trace(TraceRequest(follow=True))
        stream.cancel()
    assert stub.Why(WhyRequest(), timeout=20) is not None


def test_a_hung_or_dead_daemon_is_explained_by_its_records(image, tmp_path):
    daemon = start_daemon(tmp_path)
    roots = ("--root", str(tmp_path / "root"), "--run-root", str(tmp_path / "run"))
    with Client(daemon.endpoint) as client:
        caller = Caller(client, image, tmp_path)
        caller.PullImage(image={"image": image})
        container_id, stop = stop_slowly(caller)
        await_stuck(InsightStub(client.channel), container_id)
        daemon.process.send_signal(signal.SIGSTOP)
        said = rundlet(daemon, "why", *roots, container_id)
        assert "StopContainer container" in said.stdout, said.stderr
        daemon.process.send_signal(signal.SIGCONT)
        caller.StopContainer(container_id=container_id, timeout=0)
        stop.join()
        pod_id = caller.ListPodSandbox().items[0].id
    daemon.stop(signal.SIGKILL)
    said = rundlet(daemon, "why", *roots, container_id)
    assert "exit code 137" in said.stdout, said.stderr
    done = rundlet(daemon, "why", "nobody")
    assert "the daemon does not answer" in done.stderr
    daemon = start_daemon(tmp_path)
    with Client(daemon.endpoint) as client:
        Caller(client, image, tmp_path).RemovePodSandbox(pod_sandbox_id=pod_id)
    daemon.stop()
    assert os.listdir(tmp_path / "run" / "trace") == []
