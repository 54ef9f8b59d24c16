"""Logs: one chatty container, and the last lines of a large log."""

import time
from functools import partial

from benchmarks.bench import BIN, Bench, Job, await_true, find_program, run, timed_ms, timed_s
from benchmarks.daemons import containerd_socket
from benchmarks.figure import OURS, Aim, Figure, Party, Row
from benchmarks.node import CONTAINERD, PARTIES, Node, rundlet_socket, running_nodes
from benchmarks.people import IMAGE, LOG_DRIVERS, NO_NETWORK, PODMAN, Engines, running_engines
from benchmarks.people import PARTIES as PEOPLE
from rundlet.cri.proto import api_pb2 as api

LINE_BYTES = 100
PASSES = 10  # of the file of lines, by `cat`
SIZES_MB, QUICK_MB = (3, 30, 300), (3, 30)
TAIL = ("--tail", "10")
CRICTL = "crictl"
_END_TIMEOUT_S = 120.0


def write_lines(path: str, megabytes: int) -> None:
    with open(path, "wb") as file:
        file.write((b"x" * (LINE_BYTES - 1) + b"\n") * (megabytes * 10**6 // LINE_BYTES // PASSES))


def make_script(path: str) -> tuple[str, ...]:
    return ("sh", "-c", f"for i in {' '.join(map(str, range(PASSES)))}; do cat {path}; done")


# --- over CRI -------------------------------------------------------------------


def chat(node: Node, lines: str, name: str) -> str:
    """A container that writes all lines and ends; its id."""
    mount = api.Mount(container_path="/lines", host_path=lines, readonly=True)
    pod_id, pod = node.run_sandbox(name)
    container_id = node.create_container(pod_id, pod, command=make_script("/lines"), mounts=[mount])
    node.start_container(container_id)
    await_true(
        lambda: node.container_status(container_id).state == api.CONTAINER_EXITED,
        "a chatty container ends", timeout_s=_END_TIMEOUT_S, poll_s=0.01,
    )  # fmt: skip
    return container_id


def chat_rate(node: Node, lines: str, megabytes: int) -> float:
    """MB a second, from its start to its end as the runtime tells them."""
    status = node.container_status(container_id := chat(node, lines, f"chatty-{time.time_ns()}"))
    if status.exit_code:
        raise RuntimeError(f"a chatty container ended with {status.exit_code}")
    node.remove_container(container_id)
    return megabytes / ((status.finished_at - status.started_at) / 1e9)


def measure_cri(bench: Bench, lines: dict[int, str]) -> None:
    largest = max(lines)
    with running_nodes(bench) as nodes:
        for party in nodes:
            bench.tell(party, f"over CRI, a container of `{' '.join(make_script('/lines'))}`")
        rates = {party: partial(chat_rate, node, lines[largest], largest) for party, node in nodes.items()}
        bench.turns("cri", rates)
        for size, path in lines.items():
            bench.turns("cri_tail", tail_jobs(bench, nodes, path, size), at=size, rounds=4 * bench.rounds)


def tail_jobs(bench: Bench, nodes: dict[str, Node], path: str, size: int) -> dict[str, Job]:
    """Each daemon's own log, read by the program that is its own or, for containerd, Kubernetes'."""
    programs = {
        OURS: (f"{BIN}/rundlet", "-r", f"unix://{rundlet_socket()}", "cri"),
        CONTAINERD: (find_program(CRICTL) or CRICTL, "--runtime-endpoint", f"unix://{containerd_socket()}"),
    }
    jobs: dict[str, Job] = {}
    for party, node in nodes.items():
        reader = CRICTL if party == CONTAINERD else party
        if bench.has(party) and bench.has(reader):
            with bench.sparing(party):
                container_id = chat(node, path, f"tail-{size}")
                argv = (*programs[party], "logs", *TAIL, container_id)
                bench.tell(reader, (*argv[:-1], "CONTAINER"))
                jobs[reader] = partial(timed_ms, partial(run, argv))
    return jobs


# --- as programs ------------------------------------------------------------------


def measure_people(bench: Bench, lines: dict[int, str]) -> None:
    with running_engines(bench) as engines:
        for party in engines.programs:
            bench.tell(party, (*engines.programs[party], *chatty_words(party, "LINES", "NAME")))
        largest = max(lines)
        rates = {
            party: partial(people_rate, engines, party, lines[largest], largest) for party in engines.programs
        }
        bench.turns("people", rates)
        for size, path in lines.items():
            for party in engines.programs:
                with bench.sparing(party):
                    people_chat(engines, party, path, f"tail-{size}")
            jobs = {
                party: bench.command(party, (*program, "logs", *TAIL, f"tail-{size}"), timer=timed_ms)
                for party, program in engines.programs.items()
            }
            bench.turns("tail", jobs, at=size, rounds=4 * bench.rounds)


def chatty_words(party: str, lines: str, name: str) -> tuple[str, ...]:
    options = ("-d", "--name", name, *NO_NETWORK, *LOG_DRIVERS[party], "-v", f"{lines}:/lines:ro")
    return ("run", *options, IMAGE, *make_script("/lines"))


def people_chat(engines: Engines, party: str, lines: str, name: str) -> None:
    run((*engines.programs[party], *chatty_words(party, lines, name)), piped=False)
    engines.call(party, "wait", name)


def people_rate(engines: Engines, party: str, lines: str, megabytes: int) -> float:
    """MB a second, from `run -d` to the end of `wait`."""
    name = f"chatty-{time.time_ns()}"
    elapsed_s = timed_s(lambda: people_chat(engines, party, lines, name))
    engines.call(party, "rm", name)
    return megabytes / elapsed_s


def measure(bench: Bench) -> None:
    lines = {size: f"{bench.directory}/lines-{size}" for size in (QUICK_MB if bench.quick else SIZES_MB)}
    for size, path in lines.items():
        write_lines(path, size)
    measure_cri(bench, lines)
    measure_people(bench, lines)


FIGURE = Figure(
    name="logs",
    title="Logs",
    what="One container that writes lines of 100 bytes as fast as it can, until it has ended and all are in its log, "
    f"{max(SIZES_MB)} MB each time; and the last ten lines of logs of {', '.join(map(str, SIZES_MB))} MB, by whole "
    "processes. containerd's log is read by crictl, rundlet's by `rundlet cri logs`; podman writes its log by conmon.",
    parties=(*PARTIES, Party(CRICTL, ("crictl",)), *(party for party in PEOPLE if party.name == PODMAN)),
    rows=(
        Row("cri", "a chatty container over CRI", unit="MB/s", more_is_better=True),
        Row("people", "a chatty container, `run -d` and `wait`", unit="MB/s", more_is_better=True),
        Row("cri_tail", "the last 10 lines, CRI log", grows_with="MB"),
        Row("tail", "`logs --tail 10`", grows_with="MB"),
    ),
    aims=(Aim("cri", 150.0, "issue 3", at_least=True),),
    measure=measure,
    rounds=3,
    quick_rounds=2,
)
