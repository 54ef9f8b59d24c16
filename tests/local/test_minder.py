"""What happens to containers without anybody asking: restarts, clean-up, time limits; by a real minder."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import json
from msgspec.structs import replace

from rundlet.errors import FailedPrecondition, NotFound
from rundlet.local.machine import Machine
from rundlet.local.options import HealthCheck, Logging, NetworkChoice, RestartPolicy, RunOptions

pytestmark = pytest.mark.kernel

PATIENCE_S = 8.0


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        select.select([], [], [], 0.01)


def find_minders(machine: Machine) -> list[int]:
    """The pids of this machine's minder, of which there is one or none."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if machine.settings.places.run_root.encode() in words and b"serve" not in words:
            found.append(int(name))
    return found


@pytest.fixture(autouse=True)
def leaves(machine: Machine) -> Iterator[None]:
    """When nothing is left to mind, the minder goes."""
    yield
    for container in machine.containers.list():
        machine.containers.stop(container.id, 0)
    machine.engine.keep_minder(["/bin/true"], {}, look=True)
    wait_until(lambda: not find_minders(machine))


def lives(machine: Machine, name: str) -> int:
    container = machine.containers.get(name)
    return len(Path(container.log_path).read_text().splitlines())


def test_a_failing_container_is_restarted_so_often_and_no_more(machine: Machine, asked: RunOptions) -> None:
    policy = RestartPolicy("on-failure", 2)
    machine.containers.run(
        replace(asked, name="c", command=("sh", "-c", "echo life; exit 3"), restart=policy)
    )
    wait_until(
        lambda: machine.containers.get("c").restarts == 2 and machine.containers.get("c").state == "exited"
    )
    wait_until(lambda: not find_minders(machine))
    assert lives(machine, "c") == 3
    assert machine.containers.get("c").exit_code == 3


def test_what_a_person_stopped_stays_stopped(machine: Machine, asked: RunOptions) -> None:
    machine.containers.run(replace(asked, name="c", restart=RestartPolicy("always")))
    machine.containers.stop("c", 0)
    wait_until(lambda: not find_minders(machine))
    assert machine.containers.get("c").state == "exited"


def test_a_killed_program_comes_back_with_its_files(machine: Machine, asked: RunOptions) -> None:
    command = ("sh", "-c", "echo life; echo x >> /data/lives; exec sleep 600")
    machine.containers.run(replace(asked, name="c", command=command, restart=RestartPolicy("unless-stopped")))
    pid = machine.containers.get("c").pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: machine.containers.get("c").restarts == 1)
    assert machine.containers.exec("c", ["cat", "/data/lives"]).stdout == b"x\nx\n"


def test_a_detached_container_with_rm_goes_when_it_ends(machine: Machine, asked: RunOptions) -> None:
    machine.containers.run(replace(asked, name="c", command=("true",), remove=True))

    def is_gone() -> bool:
        try:
            machine.containers.get("c")
        except NotFound:
            return True
        return False

    wait_until(is_gone)
    wait_until(lambda: not machine.engine.pods.list())


def test_the_network_of_an_ended_detached_container_is_let_go(
    machine: Machine, asked: RunOptions, tmp_path: Path
) -> None:
    asked = replace(asked, name="c", command=("true",), network=NetworkChoice())
    pod_id = machine.containers.get(machine.containers.run(asked)).pod_id
    wait_until(lambda: machine.engine.pods.status(pod_id).state == "notready")
    machine.containers.start("c")
    assert machine.containers.wait("c", 10) == 0


def test_a_container_over_its_time_is_killed(machine: Machine, asked: RunOptions) -> None:
    machine.containers.run(replace(asked, name="c", timeout_s=1))
    assert machine.containers.wait("c", PATIENCE_S) == 137


def test_a_killed_minder_is_back_and_does_its_work(machine: Machine, asked: RunOptions) -> None:
    machine.containers.run(replace(asked, name="c", restart=RestartPolicy("always")))
    wait_until(lambda: find_minders(machine))
    (minder,) = find_minders(machine)
    os.kill(minder, signal.SIGKILL)
    os.kill(machine.containers.get("c").pid, signal.SIGKILL)
    wait_until(lambda: machine.containers.get("c").restarts == 1)
    assert minder not in find_minders(machine)


def test_an_idle_minder_is_small(machine: Machine, asked: RunOptions) -> None:
    machine.containers.run(replace(asked, name="c"))
    wait_until(lambda: find_minders(machine))
    (minder,) = find_minders(machine)
    # It polls: all that it imports is there then.
    wait_until(lambda: "poll" in Path(f"/proc/{minder}/wchan").read_text())
    fields = Path(f"/proc/{minder}/smaps_rollup").read_text().split()
    pss_kb = int(fields[fields.index("Pss:") + 1])
    assert pss_kb < 5 * 1024


ATTENDING = """
import os, sys
from msgspec import json
from rundlet.local.machine import Machine
from rundlet.local.settings import MachineSettings
machine = Machine(json.decode(sys.argv[1], type=MachineSettings))
container_id = machine.containers.find("c").id
machine.containers.start("c", attended=True)
print("started", flush=True)
sys.stdin.read()
machine.containers.wait("c")
machine.containers.settle(container_id)
machine.close()
"""


def attend(machine: Machine) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-c", ATTENDING, json.encode(machine.settings).decode()]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    return process


def test_an_attended_container_needs_no_minder(machine: Machine, asked: RunOptions) -> None:
    machine.containers.create(replace(asked, name="c", command=("true",), remove=True))
    process = attend(machine)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert not machine.engine.pods.list()
    assert not find_minders(machine)
    assert not Path(machine.settings.places.run_root, "keeper/minder").exists()


def test_who_attends_is_killed_and_a_minder_cleans_up(machine: Machine, asked: RunOptions) -> None:
    machine.containers.create(replace(asked, name="c", remove=True))
    process = attend(machine)
    process.kill()
    process.communicate()
    wait_until(lambda: find_minders(machine))
    assert machine.containers.get("c").state == "running"
    os.kill(machine.containers.get("c").pid, signal.SIGKILL)
    wait_until(lambda: not machine.engine.pods.list())


# -- health ------------------------------------------------------------------------------------


def test_health_goes_from_starting_to_healthy_to_unhealthy(machine: Machine, asked: RunOptions) -> None:
    check = HealthCheck(("[ ! -e /data/ill ]",), shell=True, interval_s=0.2, timeout_s=5, retries=2)
    machine.containers.run(replace(asked, name="c", health=check))
    wait_until(lambda: machine.containers.get("c").health.status == "healthy")
    machine.containers.exec("c", ["sh", "-c", ": > /data/ill"])
    wait_until(lambda: machine.containers.get("c").health.status == "unhealthy")
    health = machine.containers.get("c").health
    assert health.failing_streak >= 2
    assert health.probes[-1].exit_code == 1
    assert len(health.probes) <= 5


def test_an_unhealthy_container_is_restarted_when_that_was_asked(machine: Machine, asked: RunOptions) -> None:
    script = "[ -e /data/again ] || touch /data/ill; touch /data/again; exec sleep 600"
    check = HealthCheck(
        ("rm /data/ill && exit 1; true",), True, interval_s=0.2, retries=1, on_failure="restart"
    )
    machine.containers.run(
        replace(asked, name="c", command=("sh", "-c", script), health=check, stop_timeout_s=0)
    )
    wait_until(lambda: machine.containers.get("c").restarts == 1)
    wait_until(lambda: machine.containers.get("c").health.status == "healthy")


def test_a_check_that_hangs_is_a_failure(machine: Machine, asked: RunOptions) -> None:
    check = HealthCheck(("sleep", "60"), interval_s=0.1, timeout_s=0.2, retries=1, on_failure="kill")
    machine.containers.run(replace(asked, name="c", health=check))
    assert machine.containers.wait("c", PATIENCE_S) == 137
    assert "over 0.2 s" in machine.containers.get("c").health.probes[-1].output


# -- a boot --------------------------------------------------------------------------------------


def pretend_boot(machine: Machine) -> None:
    """Containers that ended a while before the kernel began, and a run root that knows of nobody."""
    with machine.engine.database.write() as connection:
        connection.execute("UPDATE containers SET started_at_ns = 1")
    Path(machine.settings.places.run_root, "local/minded").unlink(missing_ok=True)


def test_after_a_boot_the_first_command_brings_back_who_is_to_come_back(
    machine: Machine, asked: RunOptions
) -> None:
    for policy in ("always", "unless-stopped", "no"):
        machine.containers.run(replace(asked, name=policy, restart=RestartPolicy(policy)))  # type: ignore[arg-type]
        machine.containers.stop(policy, 0)
    wait_until(lambda: not find_minders(machine))
    pretend_boot(machine)
    with Machine(machine.settings) as first:
        first.containers.list()
    wait_until(lambda: machine.containers.get("always").state == "running")
    wait_until(lambda: machine.containers.get("always").restarts == 1)
    assert machine.containers.get("unless-stopped").state == "exited"
    assert machine.containers.get("no").state == "exited"


# -- attached ------------------------------------------------------------------------------------


def test_a_foreground_reader_gets_every_byte_and_the_exit_code(machine: Machine, asked: RunOptions) -> None:
    """20 MB with nobody reading for a while; attached before the start, and without a log."""
    script = "i=0; while [ $i -lt 200 ]; do head -c 100000 /dev/zero; i=$((i+1)); done; exit 6"
    asked = replace(asked, name="c", command=("sh", "-c", script), logging=Logging("none"))
    machine.containers.create(asked)
    streams = machine.containers.attach("c", lossless=True)
    machine.containers.start("c")
    assert machine.containers.wait("c", 0.3) is None
    size = 0
    while fds := list(streams.outputs()):
        select.select(fds, [], [])
        chunk = streams.read(fds[0], 1 << 16)
        size += len(chunk.data) if chunk else 0
    assert (size, streams.exit_code()) == (200 * 100000, 6)
    assert machine.containers.get("c").log_path == ""
    streams.close()


def test_a_check_by_hand_is_written_down(machine: Machine, asked: RunOptions) -> None:
    check = HealthCheck(("echo fine",), shell=True, interval_s=3600)
    machine.containers.run(replace(asked, name="c", health=check))
    assert machine.check_health("c").status == "healthy"
    assert machine.containers.get("c").health.probes[-1].output == "fine\n"
    machine.containers.stop("c", 0)
    with pytest.raises(FailedPrecondition, match="it is exited"):
        machine.check_health("c")
