"""Containers of a machine, on a real engine and a real keeper."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from rundlet.local.machine import Machine
from rundlet.local.options import Namespaces, NetworkChoice, RunOptions, VolumeMount
from rundlet.local.settings import MachineSettings
from rundlet.local.status import ContainerQuery

pytestmark = pytest.mark.kernel


def read_log(machine: Machine, name: str) -> str:
    """What it wrote, without the log's own columns."""
    lines = Path(machine.containers.get(name).log_path).read_text().splitlines()
    return "".join(line.split(" ", 3)[3] + "\n" for line in lines)


def test_a_container_runs_and_its_exit_code_is_told(machine: Machine, asked: RunOptions) -> None:
    asked = replace(asked, name="short", command=("sh", "-c", "echo hello; exit 7"))
    machine.containers.run(asked)
    assert machine.containers.wait("short", 10) == 7
    assert read_log(machine, "short") == "hello\n"
    assert machine.containers.get("short").state == "exited"


def test_a_container_without_a_name_gets_one(machine: Machine, asked: RunOptions) -> None:
    container_id = machine.containers.run(asked)
    found = machine.containers.get(container_id[:8])
    assert found.name.count("_") == 1
    assert found.id == container_id


def test_an_image_is_pulled_when_it_is_missing(machine: Machine, asked: RunOptions) -> None:
    with pytest.raises(NotFound):
        machine.containers.create(replace(asked, pull="never"))
    machine.containers.create(asked)
    assert machine.engine.images.status(asked.image) is not None


def test_a_started_again_container_keeps_its_files_its_id_and_its_log(
    machine: Machine, asked: RunOptions
) -> None:
    asked = replace(asked, name="again", command=("sh", "-c", "echo life >> /data/lives; cat /data/lives"))
    container_id = machine.containers.run(asked)
    machine.containers.wait("again", 10)
    machine.containers.start("again")
    assert machine.containers.wait("again", 10) == 0
    assert machine.containers.get("again").id == container_id
    assert read_log(machine, "again") == "life\nlife\nlife\n"


def test_a_stopped_container_lets_its_network_go_and_gets_it_back(
    machine: Machine, asked: RunOptions
) -> None:
    asked = replace(asked, name="net", network=NetworkChoice())
    machine.containers.run(asked)
    assert machine.containers.get("net").ips
    machine.containers.stop("net", 0)
    assert not machine.containers.get("net").ips
    machine.containers.start("net")
    assert machine.containers.get("net").ips
    assert machine.containers.get("net").state == "running"


def test_removing_leaves_nothing(machine: Machine, asked: RunOptions) -> None:
    machine.containers.run(replace(asked, name="gone"))
    with pytest.raises(FailedPrecondition):
        machine.containers.remove("gone")
    machine.containers.remove("gone", force=True)
    with pytest.raises(NotFound):
        machine.containers.get("gone")
    assert not machine.engine.pods.list()
    assert not os.listdir(f"{machine.settings.places.root}/local")
    assert not os.listdir(f"{machine.settings.places.run_root}/local/locks")


def test_a_taken_name_is_refused_and_leaves_nothing(machine: Machine, asked: RunOptions) -> None:
    machine.containers.create(replace(asked, name="one"))
    with pytest.raises(AlreadyExists):
        machine.containers.create(replace(asked, name="one"))
    assert len(machine.engine.pods.list()) == 1


def test_a_program_that_is_not_there_leaves_nothing(machine: Machine, asked: RunOptions) -> None:
    with pytest.raises(NotFound):
        machine.containers.run(replace(asked, command=("/no/such/program",)))
    assert not machine.engine.pods.list()
    assert not machine.containers.list(ContainerQuery(all=True))


def test_a_wrong_option_leaves_nothing(machine: Machine, asked: RunOptions) -> None:
    wrong = VolumeMount("bind", "relative", "/srv")
    with pytest.raises(InvalidArgument):
        machine.containers.create(replace(asked, mounts=(wrong,)))
    assert not machine.engine.pods.list()
    assert not machine.containers.list(ContainerQuery(all=True))


def test_a_renamed_container_is_found_by_its_new_name_only(machine: Machine, asked: RunOptions) -> None:
    machine.containers.create(replace(asked, name="old"))
    machine.containers.rename("old", "new")
    assert machine.containers.get("new").name == "new"
    with pytest.raises(NotFound):
        machine.containers.get("old")


def test_a_container_that_joins_another_shares_its_network(machine: Machine, asked: RunOptions) -> None:
    machine.containers.run(replace(asked, name="first", network=NetworkChoice()))
    joined = replace(asked, name="second", network=NetworkChoice(mode="container", container="first"))
    machine.containers.run(joined)
    assert machine.containers.get("second").ips == machine.containers.get("first").ips
    machine.containers.remove("second", force=True)
    assert machine.containers.get("first").state == "running"


def test_a_process_killed_while_it_makes_a_container_leaves_nothing_for_the_next(
    machine_settings: MachineSettings, machine: Machine, asked: RunOptions
) -> None:
    machine.engine.images.pull(asked.image)
    places = machine_settings.places
    program = (
        "import os, signal, sys\n"
        "from rundlet.local.machine import Machine\n"
        "from rundlet.local.options import NetworkChoice, RunOptions\n"
        "from rundlet.local.settings import MachineSettings, Places\n"
        "from rundlet.engine.settings import Settings\n"
        "import rundlet.engine.containers as engine\n"
        "engine.build_container = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "settings = MachineSettings(Places(*sys.argv[1:4]), Settings(root=sys.argv[1], run_root=sys.argv[2],"
        " default_cgroup_parent='/local-test'))\n"
        "Machine(settings).containers.create(RunOptions(image=sys.argv[4], name='half',"
        " network=NetworkChoice(mode='none')))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, *places, asked.image], check=False, timeout=30)
    assert ended.returncode == -signal.SIGKILL
    with Machine(machine_settings) as next_one:
        assert not next_one.containers.list(ContainerQuery(all=True))
        assert not next_one.engine.pods.list()
        next_one.containers.create(replace(asked, name="half"))


def test_kubelet_does_not_see_what_people_run(machine: Machine, asked: RunOptions) -> None:
    from rundlet.engine.options import ContainerFilter, PodFilter

    machine.containers.run(asked)
    assert not machine.engine.pods.list(PodFilter(origin="cri"))
    assert not machine.engine.containers.list(ContainerFilter(origin="cri"))


def test_a_container_made_over_cri_obeys_by_its_id(machine: Machine, asked: RunOptions) -> None:
    machine.engine.images.pull(asked.image)
    pod = machine.engine.pods.run(PodOptions(name="kubelets", connected=False))
    options = ContainerOptions(name="main", image=asked.image, command=("sleep", "600"))
    container = machine.engine.containers.create(pod, options)
    machine.containers.start(container)
    assert machine.containers.get(container).name == "kubelets/main"
    with pytest.raises(FailedPrecondition):
        machine.containers.remove(container)
    machine.containers.stop(container[:12])
    machine.containers.remove(container)
    assert [found.id for found in machine.engine.pods.list()] == [pod]


def test_what_a_container_requires_is_started_before_it(machine: Machine, asked: RunOptions) -> None:
    machine.containers.create(replace(asked, name="first"))
    machine.containers.run(replace(asked, name="second", requires=("first",)))
    assert machine.containers.get("first").state == "running"


def test_an_image_of_another_platform_is_none(machine: Machine, asked: RunOptions) -> None:
    machine.engine.images.pull(asked.image)
    with pytest.raises(NotFound):
        machine.containers.create(replace(asked, platform="linux/s390x", pull="never"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"namespaces": Namespaces(user="keep-id")}, "only an ordinary user"),
        ({"namespaces": Namespaces(user="private")}, "says nothing of the ids"),
        ({"namespaces": Namespaces(uts="host"), "hostname": "x"}, "exclude each other"),
        ({"namespaces": Namespaces(cgroup="container:x")}, "--cgroupns container:x: not supported"),
        ({"groups": ("keep-groups",)}, "keep-groups: not supported"),
        ({"groups": ("wheel",)}, "'wheel' is not in the image's /etc/group"),
    ],
)
def test_what_there_is_not_is_refused(
    machine: Machine, asked: RunOptions, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises((InvalidArgument, Unimplemented), match=said):
        machine.containers.create(replace(asked, **wrong))
    assert not machine.containers.list(ContainerQuery(all=True))
