"""Lists of 10, 100 and 1 000 containers: over CRI, and as whole processes."""

import http.client
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench import Bench, Job, await_true, timed_ms
from benchmarks.daemons import running
from benchmarks.figure import OURS, Aim, Figure, Row
from benchmarks.node import AT_A_TIME, CONTAINERD, OWN_MOUNTS, PARTIES, Node, running_nodes
from benchmarks.people import IMAGE, PODMAN, Engines, running_engines
from benchmarks.people import PARTIES as PEOPLE
from rundlet.api.client import Client
from rundlet.cli.walk_place import accepts
from rundlet.cri.proto import api_pb2 as api

SIZES, QUICK_SIZES = (10, 100, 1000), (10, 100)
A_POD = 10
TURNS_OF_MANY = 5  # of lists that take podman three seconds each


def count_rounds(bench: Bench, size: int) -> int:
    return min(bench.rounds, TURNS_OF_MANY) if size == SIZES[-1] else bench.rounds


def fill_node(node: Node, first: int, last: int) -> None:
    """Running containers, ten a pod, until there are `last`."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        pods = list(
            pool.map(node.run_sandbox, [f"list-{number}" for number in range(first // A_POD, last // A_POD)])
        )
        work = [(*pod, f"c{number}") for pod in pods for number in range(A_POD)]
        list(pool.map(lambda one: node.run_container(*one), work))


def measure_cri(bench: Bench) -> None:
    with running_nodes(bench, OWN_MOUNTS) as nodes:
        done = 0
        for size in QUICK_SIZES if bench.quick else SIZES:
            for party, node in nodes.items():
                if bench.has(party):
                    with bench.sparing(party):
                        fill_node(node, done, size)
            done = size
            rounds = count_rounds(bench, size)
            for row, make in CALLS.items():
                bench.turns(row, {party: make(node) for party, node in nodes.items()}, at=size, rounds=rounds)


def list_containers(node: Node) -> Job:
    return lambda: timed_ms(
        lambda: node.client.call(node.runtime.ListContainers, api.ListContainersRequest())
    )


def list_stats(node: Node) -> Job:
    request = api.ListContainerStatsRequest()
    return lambda: timed_ms(lambda: node.client.call(node.runtime.ListContainerStats, request))


CALLS = {"containers": list_containers, "stats": list_stats}


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def create_podmans(engines: Engines, directory: str, names: list[str]) -> None:
    """Through podman's service, which is faster than a process for each."""
    path = f"{directory}/podman.sock"
    argv = (*engines.programs[PODMAN], "system", "service", "--time", "0", f"unix://{path}")
    with running(argv, f"{directory}/podman.log"):
        await_true(
            lambda: os.path.exists(path) and accepts(path), "podman's service answers"
        )  # stopping removes it
        for name in names:
            wanted = {"name": name, "image": IMAGE, "command": ["sleep", "600"], "netns": {"nsmode": "none"}}
            connection = UnixConnection(path)
            connection.request(
                "POST",
                "/v4.0.0/libpod/containers/create",
                json.dumps(wanted),
                {"Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            if answer.status != 201:
                raise RuntimeError(f"podman: {answer.read().decode()}")
            connection.close()


def create_ours(names: list[str]) -> None:
    with Client() as client, ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(lambda name: client.create(IMAGE, ["sleep", "600"], name=name, network="none"), names))


def measure_people(bench: Bench) -> None:
    with running_engines(bench) as engines:
        done = 0
        for size in QUICK_SIZES if bench.quick else SIZES:
            names = [f"c{number}" for number in range(done, size)]
            with bench.sparing(OURS):
                create_ours(names)
            if bench.has(PODMAN):
                with bench.sparing(PODMAN):
                    create_podmans(engines, bench.directory, names)
            done = size
            jobs = {
                party: bench.command(party, (*program, "ps", "--all"), timer=timed_ms)
                for party, program in engines.programs.items()
            }
            bench.turns("ps", jobs, at=size, rounds=count_rounds(bench, size))


def measure(bench: Bench) -> None:
    for party in (OURS, CONTAINERD):
        bench.tell(party, "ListContainers and ListContainerStats over CRI, no filter")
    measure_people(bench)
    measure_cri(bench)


FIGURE = Figure(
    name="listing",
    title="Lists",
    what="All containers listed, with 10, 100 and 1 000 of them: over CRI by daemons that have them running, ten a pod; "
    "and by whole processes, created ones.",
    parties=(*PARTIES, *(party for party in PEOPLE if party.name != OURS)),
    rows=(
        Row("containers", "ListContainers", grows_with="containers"),
        Row("stats", "ListContainerStats", grows_with="containers"),
        Row("ps", "`ps --all`", grows_with="containers"),
    ),
    aims=(Aim("containers", 2.0, "issue 4", at=100), Aim("stats", 40.0, "issue 4", at=100)),
    measure=measure,
    rounds=12,
    quick_rounds=4,
    time_limit_s=600.0,
)
