"""What `why` says of things that are really stuck, and of those that failed."""

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.engine.engine import Engine
from rundlet.engine.evidence import open_evidence
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.telemetry import TracingSettings
from rundlet.engine.why import explain
from rundlet.engine.whytext import format_account
from rundlet.errors import DeadlineExceeded, Error, NotFound

pytestmark = pytest.mark.kernel


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def tell(engine, text=""):
    """What `why` says, as lines for people."""
    accounts = engine.insight.why(text)
    return "\n".join(line for one in accounts for line in format_account(one, time.time_ns()))


def await_words(engine, name, *words):
    """Look until `why` says all of it; what it said."""
    deadline = time.monotonic() + 20
    while True:
        try:
            said = tell(engine, name)
        except NotFound:
            said = ""
        if all(word in said for word in words):
            return said
        assert time.monotonic() < deadline, f"{words} not in: {said}"
        time.sleep(0.02)


def await_file(path):
    """Until something stands in it."""
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} is not written"
        time.sleep(0.01)


def run_container(engine, image, pod_id, *command, **more):
    options = ContainerOptions(name=more.pop("name", "c"), image=image, command=command, **more)
    container_id = engine.containers.create(pod_id, options)
    engine.containers.start(container_id)
    return container_id


SLEEPY = """#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && {{ echo '{{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}}'; exit; }}
[ "$CNI_COMMAND" = ADD ] && {{ echo $$ > {pid}; read never < {gate}; echo '{{"cniVersion":"1.0.0","code":7,"msg":"no ticket"}}'; exit 1; }}
exit 0
"""


@pytest.fixture
def sleepy(settings, tmp_path):
    """Settings with a CNI plugin that waits at a FIFO in ADD and then fails; and the FIFO and the pid's file."""
    gate, pid, bins = tmp_path / "gate", tmp_path / "pid", tmp_path / "bin"
    bins.mkdir()
    os.mkfifo(gate)
    (bins / "sleepy").write_text(SLEEPY.format(pid=pid, gate=gate))
    (bins / "sleepy").chmod(0o755)
    conf = {"cniVersion": "1.0.0", "name": "slow", "plugins": [{"type": "sleepy"}]}
    (tmp_path / "net.d" / "00-slow.conflist").write_text(json.dumps(conf))
    return replace(settings, cni_bin_dirs=(str(bins),)), gate, pid


def test_a_cni_plugin_that_hangs_is_named_with_its_process(sleepy, threads):
    settings, gate, pid_file = sleepy
    with Engine(settings) as engine:
        pod = threads.submit(engine.pods.run, PodOptions(name="web", namespace="default", uid="u"))
        said = await_words(engine, "default/web", "plugin.run", "waits for process")
        await_file(pid_file)
        pid = int(pid_file.read_text())
        assert f"waits for process {pid} ({settings.cni_bin_dirs[0]}/sleepy), until" in said
        assert "run pod default/web" in said
        assert "pod.network › network.add.sleepy › plugin.run" in said
        assert f"process {pid} (/bin/sh" in said
        assert f"process {os.getpid()} is making it" in said
        assert "run" in tell(engine)  # everything under way
        gate.write_text("go\n")
        with pytest.raises(Error):
            pod.result()
        # The pod is undone, its record gone; the failure is remembered.
        said = tell(engine, "web")
        assert "has no record" in said
        assert "no ticket" in said


def test_without_the_engine_the_records_tell_the_same(sleepy, threads):
    settings, gate, _ = sleepy
    with Engine(settings) as engine:
        pod = threads.submit(engine.pods.run, PodOptions(name="web", namespace="default", uid="u"))
        await_words(engine, "web", "waits for process")
        with open_evidence(settings.root, settings.run_root) as evidence:
            (account,) = explain(evidence, "default/web")
        assert account.state == "creating"
        assert account.running[0].steps[-1] == "plugin.run"
        assert "/bin/sh" in account.running[0].found[0]
        gate.write_text("go\n")
        with pytest.raises(Error):
            pod.result()


KILLED = """
import sys, threading
from msgspec.json import decode
from rundlet.engine.engine import Engine
from rundlet.engine.options import PodOptions
from rundlet.engine.settings import Settings
engine = Engine(decode(sys.argv[1], type=Settings))
engine.pods.run(PodOptions(name="web", namespace="default", uid="u"))
"""


def test_a_kill_leaves_the_step_it_hit(sleepy):
    """kill -9 of the maker: the records tell where it was, and so does the next engine."""
    from msgspec.json import encode

    settings, gate, pid_file = sleepy
    with subprocess.Popen([sys.executable, "-c", KILLED, encode(settings).decode()]) as process:
        await_file(pid_file)
        process.send_signal(signal.SIGKILL)
    with open_evidence(settings.root, settings.run_root) as evidence:
        (account,) = explain(evidence, "web")
    assert "half made" in account.notes[0]
    assert (account.failed[0].code, account.failed[0].steps[-1]) == ("killed", "plugin.run")
    gate.write_text("go\n")
    with Engine(settings) as engine:
        said = tell(engine, "web")
    assert "killed" in said
    assert "network.add.sleepy" in said


@contextmanager
def stalled_registry():
    """A host that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_registry_that_stalls_is_named(empty_engine, threads):
    with stalled_registry() as port:
        reference = f"127.0.0.1:{port}/redis:alpine"
        pull = threads.submit(empty_engine.images.pull, reference, deadline_s=1.0)
        said = await_words(empty_engine, reference, "has sent nothing")
        assert f"pull image {reference}" in said
        assert "registry.request" in said
        assert f"registry 127.0.0.1:{port}" in said
        with pytest.raises(DeadlineExceeded):
            pull.result()
    assert "failed" in tell(empty_engine, reference)


class Miser(socketserver.ThreadingTCPServer):
    """Passes on to a registry, and back no more than `budget` bytes of all connections together."""

    daemon_threads = True

    def __init__(self, behind, budget):
        super().__init__(("127.0.0.1", 0), _Passage)
        host, _, port = behind.rpartition(":")
        self.behind, self.budget, self.guard = (host, int(port)), budget, threading.Lock()

    def grant(self, size):
        with self.guard:
            granted = min(size, self.budget)
            self.budget -= granted
            return granted


class _Passage(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.create_connection(self.server.behind) as upstream:
            threading.Thread(target=self.ask, args=(upstream,), daemon=True).start()
            while data := upstream.recv(1 << 16):
                self.request.sendall(data[: self.server.grant(len(data))])

    def ask(self, upstream):
        try:
            while data := self.request.recv(1 << 16):
                upstream.sendall(data)
            upstream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def test_a_layer_that_stops_coming_is_told_with_what_has_come(empty_engine, registry, threads):
    with Miser(registry, 200_000) as miser:
        serving = threading.Thread(target=miser.serve_forever, args=(0.01,))
        serving.start()
        host = f"127.0.0.1:{miser.server_address[1]}"
        pull = threads.submit(empty_engine.images.pull, f"{host}/busybox:latest", deadline_s=1.5)
        said = await_words(empty_engine, f"{host}/busybox:latest", "layer.download", "  has 0.2 of ")
        assert f"waits for registry {host}, which has sent nothing for" in said
        with pytest.raises(DeadlineExceeded):
            pull.result()
        miser.shutdown()
        serving.join()


def test_a_container_that_ignores_sigterm_is_waited_for_until_its_grace_ends(
    engine, image, threads, tmp_path
):
    options = PodOptions(name="web", namespace="default", uid="u", log_directory=str(tmp_path))
    pod_id = engine.pods.run(options)
    script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    container_id = run_container(engine, image, pod_id, "sh", "-c", script, name="deaf", log_path="log")
    await_file(tmp_path / "log")
    pid = engine.containers.status(container_id).pid
    stop = threads.submit(engine.containers.stop, container_id, 30)
    said = await_words(engine, container_id[:12], "container.await-end", "waits for process")
    assert f"process {pid} (container deaf), until" in said
    assert "at most (" in said
    # The pod's account tells of its container's operations too.
    assert "stop container deaf" in tell(engine, "default/web")
    threads.submit(engine.containers.stop, container_id, 0).result()
    stop.result()
    assert "exit code 137" in tell(engine, "deaf")


def test_who_holds_the_lock_is_told(engine, image, threads):
    pod_id = engine.pods.run(PodOptions(name="web", namespace="default", uid="u"))
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with engine._parts.tracer.operation("long"), engine._parts.locks.hold(pod_id):
            inside.set()
            leave.wait()

    holder = threads.submit(hold)
    inside.wait()
    stop = threads.submit(engine.pods.stop, pod_id)
    said = await_words(engine, pod_id, "lock.wait")
    assert f"lock of {pod_id[:12]}, which `long` holds" in said
    leave.set()
    holder.result()
    stop.result()


def test_a_frozen_container_and_its_hung_exec_are_told(engine, image, threads):
    pod_id = engine.pods.run(PodOptions(name="web", namespace="default", uid="u"))
    container_id = run_container(engine, image, pod_id, "sleep", "1000")
    record = engine._parts.containers.get(container_id)
    group = Group(detect_layout(), record.facts.cgroups_path)
    running = threads.submit(engine.containers.exec_sync, container_id, ["sleep", "600"], 600)
    said = await_words(engine, container_id, "container.await-exec", "an exec is under way")
    assert "(sleep)" in said
    group.freeze()
    try:
        assert "it is frozen" in tell(engine, container_id)
        assert "container c: it is frozen" in tell(engine, "web")
    finally:
        group.thaw()
    engine.containers.stop(container_id, 0)
    running.result()


def test_ended_containers_tell_how_and_failed_ones_why(engine, image):
    pod_id = engine.pods.run(PodOptions(name="web", namespace="default", uid="u"))
    container_id = run_container(engine, image, pod_id, "sh", "-c", "exit 3", name="three")
    await_words(engine, "three", "ended with exit code 3 (Error)")
    with pytest.raises(Error):
        engine.containers.create(pod_id, ContainerOptions(name="broken", image=image, command=("/nowhere",)))
    said = tell(engine, "broken")
    assert "create container broken" in said
    assert "keeper.create" in said
    assert "(program_not_found): exec '/nowhere': no such file or directory" in said
    with pytest.raises(Error):
        engine.containers.create(pod_id, ContainerOptions(name="absent", image="nowhere/none:1"))
    assert "hint: pull it first" in tell(engine, "absent")
    assert "used by container" in tell(engine, image)
    assert container_id[:12] in tell(engine, image)


def test_a_keeper_that_does_not_answer_is_told(engine, image, threads):
    pod_id = engine.pods.run(PodOptions(name="web", namespace="default", uid="u"))
    container_id = run_container(engine, image, pod_id, "sleep", "1000")
    supervisor = engine._parts.keeper.call("version", {}).message["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        stop = threads.submit(engine.containers.stop, container_id, 0)
        said = await_words(engine, container_id, "the keeper does not answer")
        assert "waits for keeper" in said
        assert "is stopped by a signal" in said
    finally:
        os.kill(supervisor, signal.SIGCONT)
    stop.result()


def test_a_first_process_tells_its_steps_when_asked(settings, registry):
    image = f"{registry}/busybox:latest"
    with Engine(replace(settings, tracing=TracingSettings(container_steps=True))) as engine:
        engine.images.pull(image)
        pod_id = engine.pods.run(PodOptions(name="web", namespace="default", uid="u"))
        run_container(engine, image, pod_id, "sleep", "1000")
        (created,) = [view for view in engine.insight.trace(["c"]) if view.name == "create"]
        engine.pods.remove(pod_id)
    (inside,) = [step for step in walk(created) if step.name == "keeper.create"]
    names = [step.name for step in inside.steps]
    assert {"MountOverlay", "PivotRoot"} <= set(names)
    for step in inside.steps:
        assert inside.started_at_ns <= step.started_at_ns <= step.ended_at_ns <= inside.ended_at_ns


def walk(view):
    return [view, *(inner for step in view.steps for inner in walk(step))]


def test_an_engine_that_cannot_keep_the_record_works_without(settings, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trace").write_text("in the way")
    with Engine(settings) as engine:
        pod_id = engine.pods.run(PodOptions(name="web", namespace="default", uid="u"))
        assert "pod default/web" in tell(engine, pod_id)
        engine.pods.remove(pod_id)


def test_nothing_of_that_name(empty_engine):
    with pytest.raises(NotFound, match="nothing here is called 'nobody'"):
        empty_engine.insight.why("nobody")
    assert empty_engine.insight.why() == []


def test_without_a_name_the_last_failure_is_told_too(engine):
    with pytest.raises(Error):
        engine.images.pull("127.0.0.1:1/absent:1")
    said = tell(engine)
    assert "127.0.0.1:1/absent:1: failed" in said
