"""What is to be said of a pod's or a container's condition, from its record and from the kernel."""

import json
import os
from collections.abc import Iterator

from rundlet.cgroup.systemd import open_group
from rundlet.engine.evidence import Evidence
from rundlet.engine.names import is_alive
from rundlet.engine.processes import describe_process, read_process
from rundlet.engine.records import ContainerRecord, PodRecord
from rundlet.errors import Error
from rundlet.keeper.place import keeper_dir
from rundlet.kernel.sync import read_boot_id

_PROCESSES_MAX = 5
_HINTS = {
    "OOMKilled": "give it more memory, or find out what takes it (metric container_memory_working_set_bytes)",
    "StartError": "its program could not be run: look at command, working directory and user",
    "ContainerStatusUnknown": "the node was started again, or its process was lost",
}


def judge_pod(pod: PodRecord) -> list[str]:
    if pod.state == "creating":
        return [_judge_owner(pod.owner)]
    if pod.state == "notready" and pod.facts.boot_id != read_boot_id():
        return ["the node was started again since this pod was made"]
    if pod.state == "ready":
        lost = [path for path in pod.facts.namespaces.values() if not os.path.exists(path)]
        return [f"its namespace {path} is gone: restart rundletd, which marks it not ready" for path in lost]
    return []


def judge_container(evidence: Evidence, one: ContainerRecord) -> list[str]:
    match one.state:
        case "creating":
            return [_judge_owner(one.owner)]
        case "exited":
            return list(_judge_end(one))
        case "unknown":
            return ["the runtime does not know how it is"]
        case _:
            return [*_judge_process(evidence, one), *_list_execs(evidence, one)]


def _judge_owner(owner: str) -> str:
    pid = owner.split("/")[1] if owner.count("/") == 2 else "?"
    if is_alive(owner):
        return f"process {pid} is making it"
    return f"half made: process {pid}, which made it, has died; the next start of rundletd removes it"


def _judge_end(one: ContainerRecord) -> Iterator[str]:
    yield f"it ended with exit code {one.exit_code} ({one.reason})" + (
        f": {one.message}" if one.message else ""
    )
    if one.reason in _HINTS:
        yield f"hint: {_HINTS[one.reason]}"


def _judge_process(evidence: Evidence, one: ContainerRecord) -> Iterator[str]:
    facts = read_process(one.facts.pid)
    if facts is None or facts.state == "Z":
        yield f"its first process {one.facts.pid} has ended, and nobody has recorded that yet: is rundletd running?"
        return
    group = open_group(evidence.layout, one.facts.cgroups_path)
    try:
        if group.is_frozen():
            yield f"it is frozen: nothing runs in cgroup {one.facts.cgroups_path} until it is thawed"
        pids = group.pids(recursive=True)
    except Error as error:
        yield f"its cgroup cannot be read: {error.message}"
        return
    if one.state == "created":
        yield f"its first process {facts.pid} waits for StartContainer"
    elif facts.state == "T":
        yield from describe_process(facts)
    blocked = (read_process(pid) for pid in pids)
    for stuck in [facts for facts in blocked if facts and facts.state == "D"][:_PROCESSES_MAX]:
        yield from describe_process(stuck)


def _list_execs(evidence: Evidence, one: ContainerRecord) -> Iterator[str]:
    """Further processes under way, from the keeper's files."""
    directory = f"{keeper_dir(evidence.run_root)}/containers/{one.id}"
    try:
        names = [name for name in os.listdir(directory) if name.startswith("exec-")]
    except OSError:
        return
    for name in names[:_PROCESSES_MAX]:
        facts = read_process(_read_pid(f"{directory}/{name}"))
        if facts and facts.state != "Z":
            yield f"an exec is under way: {describe_process(facts)[0]}"


def _read_pid(path: str) -> int:
    try:
        with open(path, encoding="utf-8") as file:
            return int(json.load(file).get("pid", 0))
    except (OSError, ValueError):
        return 0
