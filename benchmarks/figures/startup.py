"""Start-up of each program: its version, an empty list, a daemon's first answer."""

import os
import shutil
import time
from collections.abc import Sequence
from functools import partial

from benchmarks.bench import BIN, Bench, Job, await_true, timed_ms
from benchmarks.daemons import running, write_containerd_config
from benchmarks.figure import OURS, Aim, Figure, Party, Row
from benchmarks.node import rundletd_argv
from benchmarks.people import running_engines
from rundlet.cli.walk_place import accepts
from rundlet.cri.client import Client
from rundlet.cri.proto import api_pb2 as api

PEERS = ("podman", "crun", "runc", "skopeo", "umoci", "containerd")
OTHERS = ("rundletd", "rundlet-runtime")
DAEMON_ROUNDS, DAEMON_QUICK = 8, 2


def first_answer_ms(argv: Sequence[str], socket: str, log: str) -> float:
    """From the daemon's start to its answer to Version; it is stopped off the clock."""
    begun_ns = time.perf_counter_ns()
    with running(argv, log):
        await_true(lambda: accepts(socket), f"{argv[0]} answers", poll_s=0.001)
        with Client(f"unix://{socket}") as client:
            client.call(client.runtime.Version, api.VersionRequest())
            return (time.perf_counter_ns() - begun_ns) / 1e6


def make_daemons(bench: Bench) -> dict[str, Job]:
    base, state = f"{bench.directory}/daemon", f"/run/rundlet-startup-{os.getpid()}"
    os.makedirs(base)
    ours = rundletd_argv(base, state)
    theirs, socket = write_containerd_config(f"{bench.directory}/containerd", "pause")
    bench.tell("rundletd", ours)
    bench.tell("containerd", theirs)
    return {
        "rundletd": partial(first_answer_ms, ours, f"{state}/rundlet.sock", f"{base}/log"),
        "containerd": partial(first_answer_ms, theirs, socket, f"{base}/containerd.log"),
    }


def measure(bench: Bench) -> None:
    jobs = {
        party: bench.command(party, (shutil.which(party, path=BIN) or party, "--version"), timer=timed_ms)
        for party in (OURS, *OTHERS, *PEERS)
    }
    bench.turns("version", jobs)
    with running_engines(bench) as engines:
        lists = {
            party: bench.command(party, (*program, "ps"), timer=timed_ms)
            for party, program in engines.programs.items()
        }
        bench.turns("ps", lists)
    bench.turns("daemon", make_daemons(bench), rounds=DAEMON_QUICK if bench.quick else DAEMON_ROUNDS)


FIGURE = Figure(
    name="startup",
    title="Start-up of each program",
    what="Whole processes that tell their version, and that list no containers; and how soon a CRI daemon with an "
    "empty store answers Version.",
    parties=(Party(OURS), *(Party(name) for name in OTHERS), *(Party(name, (name,)) for name in PEERS)),
    rows=(
        Row("version", "`--version`"),
        Row("ps", "`ps`, no containers"),
        Row("daemon", "a daemon's first answer"),
    ),
    aims=(Aim("version", 60.0, "issue 6"),),
    measure=measure,
    rounds=20,
    quick_rounds=5,
)
