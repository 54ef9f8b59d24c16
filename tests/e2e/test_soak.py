"""Pods that come and go, ten at a time; afterwards every count is what it was.

RUNDLET_SOAK_PODS says how many: 100 in `make test`, 300 in `nox -s soak`.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from rundlet.cli import walk_check
from rundlet.cli.walk_place import Daemon, Place
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api
from rundlet.registry.server import RegistryServer
from tests.cri.node import Caller, publish_busybox

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(180)]

PODS = int(os.environ.get("RUNDLET_SOAK_PODS", "100"))
AT_A_TIME = 10
# gRPC, SQLite and the keeper's connections open what they keep in the first rounds.
WARM_UP_PODS = 30
SETTLE_S = 15.0
# Kinds of traces that a daemon and a keeper without pods have none of.
OF_PODS = {"namespaces", "cgroups", "interfaces", "leases"}


class Counts(NamedTuple):
    """What a daemon without pods holds, on the machine and in its own state."""

    traces: walk_check.Traces
    daemon_fds: int
    rows: dict[str, int]
    state_files: frozenset[str]


class Soak:
    def __init__(self, place: Place, daemon: Daemon, daemon_pid: int, caller: Caller) -> None:
        self.place, self.daemon, self.daemon_pid, self.caller = place, daemon, daemon_pid, caller
        self.scope = walk_check.Scope(place.run_root)

    def count(self) -> Counts:
        return Counts(
            traces=walk_check.take_traces(self.scope),
            daemon_fds=count_descriptors(self.daemon_pid),
            rows=count_rows(f"{self.place.root}/state.db"),
            state_files=frozenset(
                path for path in walk_check.list_files(self.place.root) if not is_database(path)
            ),
        )

    def await_idle(self, without_daemon: walk_check.Traces) -> Counts:
        """The counts once only the daemon and its keeper are left of all that pods need."""
        deadline_s = time.monotonic() + SETTLE_S
        while True:
            left = walk_check.compare_traces(without_daemon, walk_check.take_traces(self.scope))
            of_pods = [item for item in left if item.kind in OF_PODS]
            if not of_pods:
                return self.count()
            assert time.monotonic() < deadline_s, of_pods
            time.sleep(0.05)

    def live_once(self, number: int) -> None:
        """A pod with a container, from nothing to nothing, as a kubelet does it."""
        labels = {"soak": str(number)}
        linux = api.LinuxPodSandboxConfig(cgroup_parent=f"/soak/pod{number}")
        pod = self.caller.run_pod(labels=labels, linux=linux)
        container = self.caller.start(pod, "sleep", "1000")
        self.caller.StopContainer(container_id=container, timeout=0)
        self.caller.RemoveContainer(container_id=container)
        self.caller.StopPodSandbox(pod_sandbox_id=pod)
        self.caller.RemovePodSandbox(pod_sandbox_id=pod)

    def live(self, pods: int) -> None:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(self.live_once, range(pods)))


def is_database(path: str) -> bool:
    """SQLite's log beside it grows and shrinks as it likes."""
    return os.path.basename(path).startswith("state.db")


def count_descriptors(pid: int) -> int:
    """What a process holds open, but for the connection that each of a pool's threads has to the database."""
    folder = f"/proc/{pid}/fd"
    return sum(not is_database(os.readlink(f"{folder}/{number}")) for number in os.listdir(folder))


def count_rows(path: str) -> dict[str, int]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = [
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        ]
        return {name: connection.execute(f'select count(*) from "{name}"').fetchone()[0] for name in tables}
    finally:
        connection.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if shutil.which("busybox") is None:
        pytest.skip("busybox not on this host")
    with Place.make(keep=False, base=str(tmp_path / "soak")) as place:
        place.write_network()
        place.write_config("builtin")
        yield place


@pytest.fixture
def without_daemon(place: Place) -> walk_check.Traces:
    return walk_check.take_traces(walk_check.Scope(place.run_root))


@pytest.fixture
def soak(place: Place, without_daemon: walk_check.Traces, tmp_path: Path) -> Iterator[Soak]:
    """A daemon, and an image to run; what is there without them was looked at before."""
    registry = RegistryServer(place.registry_dir)
    registry.start()
    daemon = Daemon(place)
    try:
        pid = daemon.start()
        image = publish_busybox(registry.address, tmp_path)
        with Client(f"unix://{place.socket}") as client:
            caller = Caller(client, image, Path(place.log_dir))
            caller.PullImage(image=api.ImageSpec(image=image))
            yield Soak(place, daemon, pid, caller)
    finally:
        daemon.stop()
        registry.stop()


def test_every_count_is_what_it_was(soak: Soak, without_daemon: walk_check.Traces) -> None:
    soak.live(WARM_UP_PODS)
    before = soak.await_idle(without_daemon)
    soak.live(PODS)
    after = soak.await_idle(without_daemon)
    assert walk_check.compare_traces(before.traces, after.traces) == ()
    # Connections to the keeper are kept for the next call, as many as calls went side by side: at most eight.
    assert after.daemon_fds <= before.daemon_fds + 8
    assert after._replace(traces=before.traces, daemon_fds=before.daemon_fds) == before
    soak.daemon.stop()
    assert walk_check.await_nothing_left(without_daemon, soak.scope, SETTLE_S) == ()
