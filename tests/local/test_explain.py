"""What a run would do, told without doing it."""

import os
import subprocess

import pytest
from msgspec.structs import replace

from rundlet.engine.explain import Section
from rundlet.errors import InvalidArgument
from rundlet.local.machine import Machine
from rundlet.local.options import NetworkChoice, RunOptions, VolumeMount
from rundlet.local.status import ContainerQuery

pytestmark = pytest.mark.kernel


def explain(machine: Machine, asked: RunOptions) -> dict[str, tuple[str, ...]]:
    sections: list[Section] = list(machine.containers.explain(asked, machine.settings.places))
    return {section.title.split()[0]: section.lines for section in sections}


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True, timeout=10).stdout


def test_the_requests_of_a_pull_are_told_and_nothing_is_pulled(machine: Machine, asked: RunOptions) -> None:
    told = explain(machine, asked)
    assert any("bytes) from" in line for line in told["pull"])
    assert machine.engine.images.status(asked.image) is None


def test_every_part_is_told_and_nothing_is_made(machine: Machine, asked: RunOptions) -> None:
    machine.engine.images.pull(asked.image)
    before = links(), sorted(os.listdir(f"{machine.settings.places.root}/snapshots"))
    asked = replace(
        asked,
        network=NetworkChoice(),
        mounts=(VolumeMount("volume", "/v", "cache"),),
        resources=replace(asked.resources, memory_limit_bytes=64 << 20),
    )
    told = explain(machine, asked)
    assert told["volumes"] == ("volume cache: made unless it is there, filled from the image",)
    assert "pin a new net namespace" in told["pod"]
    assert any("create bridge" in line for line in told["network"])
    assert any("veth" in line for line in told["network"])
    assert any(line.startswith("address 10.") for line in told["network"])
    assert any("67108864" in line for line in told["cgroup"])
    assert "system calls allowed" in told["seccomp"][0]
    assert any("overlay of 1 layers" in line for line in told["first"])
    assert told["start"] == ("exec sleep 600 as 0:0",)
    assert (links(), sorted(os.listdir(f"{machine.settings.places.root}/snapshots"))) == before
    assert not machine.engine.pods.list()
    assert not machine.containers.list(ContainerQuery(all=True))


def test_what_is_told_of_the_network_is_what_happens(machine: Machine, asked: RunOptions) -> None:
    """With a container on the bridge already, another gets the address that was foretold."""
    asked = replace(asked, network=NetworkChoice())
    machine.containers.run(asked)
    told = explain(machine, asked)
    assert not any("create bridge" in line for line in told["network"])
    foretold = told["network"][-1].removeprefix("address ")
    second = machine.containers.run(asked)
    assert ", ".join(machine.containers.get(second).ips) == foretold


def test_wrong_options_are_told_as_by_create(machine: Machine, asked: RunOptions) -> None:
    machine.engine.images.pull(asked.image)
    with pytest.raises(InvalidArgument):
        explain(machine, replace(asked, pod="x", namespaces=replace(asked.namespaces, pid="container:y")))
