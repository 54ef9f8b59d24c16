"""Events of a machine: seen by other processes, filtered, followed."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from rundlet.engine.journal import Journal
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.errors import InvalidArgument
from rundlet.local.events import read_events
from rundlet.local.machine import Machine
from rundlet.local.options import RunOptions


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(str(tmp_path))
    journal.note(
        "container", "start", "c1", "web", "docker.io/library/redis:alpine", pod_id="p1", labels={"app": "x"}
    )
    journal.note("container", "died", "c1", "web", "docker.io/library/redis:alpine", pod_id="p1")
    journal.note("container", "start", "c2", "db", "docker.io/library/postgres:15")
    journal.note("pod", "create", "p1", "pod")
    journal.note("volume", "create", "data", "data")
    return journal


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 5),
        ({"event": ["start"]}, 2),
        ({"event": ["start", "died"], "container": ["web"]}, 2),
        ({"container": ["c2"]}, 1),
        ({"image": ["redis"]}, 2),
        ({"label": ["app"]}, 1),
        ({"label": ["app=y"]}, 0),
        ({"type": ["pod", "volume"]}, 2),
        ({"pod": ["p1"]}, 3),
        ({"volume": ["data"]}, 1),
    ],
)
def test_filters(journal: Journal, filters: dict[str, list[str]], count: int) -> None:
    assert len(list(read_events(journal, filters=filters))) == count


def test_times_limit(journal: Journal) -> None:
    times = [entry.time_ns for entry in journal.read()]
    assert len(list(read_events(journal, since_ns=times[1], until_ns=times[3]))) == 3


def test_an_unknown_filter_is_refused(journal: Journal) -> None:
    with pytest.raises(InvalidArgument, match="colour"):
        read_events(journal, filters={"colour": ["red"]})


def test_following_ends_at_its_time(journal: Journal) -> None:
    until_ns = time.time_ns() + 10**8
    assert list(read_events(journal, until_ns=until_ns, follow=True)) == []
    assert len(list(read_events(journal, since_ns=1, until_ns=until_ns, follow=True))) == 5


@pytest.mark.kernel
def test_another_processes_containers_are_heard_of(machine: Machine, asked: RunOptions) -> None:
    machine.containers.create(replace(asked, name="c", labels={"a": "b"}))
    heard: list[str] = []
    over = threading.Event()

    def listen() -> None:
        filters = {"container": ["c"]}
        for entry in machine.events(since_ns=1, follow=True, filters=filters, is_over=over.is_set):
            heard.append(
                f"{entry.action} {entry.labels.get('a')} {entry.attributes.get('containerExitCode', '')}"
            )
            if entry.action == "remove":
                over.set()

    thread = threading.Thread(target=listen)
    thread.start()
    script = (
        "import sys; from msgspec import json; from rundlet.local.machine import Machine;"
        "from rundlet.local.settings import MachineSettings\n"
        "with Machine(json.decode(sys.argv[1], type=MachineSettings)) as machine:\n"
        "    machine.containers.start('c'); machine.containers.stop('c', 0); machine.containers.remove('c')"
    )
    subprocess.run(
        [sys.executable, "-c", script, json.encode(machine.settings).decode()], check=True, timeout=20
    )
    thread.join(10)
    over.set()
    assert heard == ["create b ", "start b ", "died b 137", "stop b ", "remove b "]


@pytest.mark.kernel
def test_containers_made_over_cri_are_heard_of_too(machine: Machine, image: str) -> None:
    engine = machine.engine
    engine.images.pull(image)
    pod = engine.pods.run(PodOptions("web", "u", "default"))
    container = engine.containers.create(pod, ContainerOptions(name="box", image=image, command=("true",)))
    engine.containers.start(container)
    engine.containers.wait(container, 10)
    engine.pods.remove(pod)
    seen = sorted(f"{entry.type} {entry.action} {entry.name}" for entry in machine.events())
    seen.remove(f"image pull {image}")
    assert seen == [
        "container create box",
        "container died box",
        "container remove box",
        "container start box",
        "pod create web",
        "pod remove web",
        "pod stop web",
    ]
