"""The keeper's processes are killed; nobody else notices."""

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rundlet.errors import NotFound, Unavailable
from rundlet.keeper.client import Keeper
from rundlet.plan.process import ProcessPlan
from tests.keeper.bundle import PATH, config, plan
from tests.keeper.conftest import read_log
from tests.keeper.deaths import VICTIMS, counted, kill_and_wait, kill_keeper, wait_for_lines
from tests.keeper.test_attach import read_until

pytestmark = pytest.mark.kernel

COUNT = "i=0; while [ $i -lt {count} ]; do echo $i; i=$((i+1)); done"


def type_directly(keeper: Keeper, container_id: str) -> None:
    """Into the FIFO: what a caller has sent dies with the supervisor that had not read it yet."""
    with open(f"{keeper.run_root}/keeper/containers/{container_id}/stdin", "wb", buffering=0) as stdin:
        stdin.write(b"go\n")


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_container_outlives_it_with_its_log_and_exit_code(
    keeper: Keeper, bundle: Path, tmp_path: Path, victim: str
) -> None:
    log = tmp_path / "log"
    script = f"{COUNT.format(count=3000)}; read x; echo 3000; exit 7"
    keeper.create(plan("c", config("sh", "-c", script), bundle), log_path=str(log), stdin=True)
    keeper.start("c")
    wait_for_lines(log, 100)
    kill_keeper(keeper, victim)
    assert keeper.state("c").status == "running"
    keeper.attach("c").send(b"go\n")
    record = keeper.wait("c", 20)
    assert record is not None
    assert record.exit_code == 7
    assert counted(log, 3001)


@pytest.mark.parametrize("victim", VICTIMS)
def test_many_containers_log_and_exit_while_it_is_killed_again_and_again(
    keeper: Keeper, bundle: Path, tmp_path: Path, victim: str
) -> None:
    chance = random.Random(victim)
    names = [f"c{number}" for number in range(20)]
    for number, name in enumerate(names):
        script = f"{COUNT.format(count=200)}; read x; exit {number + 1}"
        log = str(tmp_path / name)
        keeper.create(plan(name, config("sh", "-c", script), bundle), log_path=log, stdin=True)
        keeper.start(name)
    for _ in range(3):
        select.select([], [], [], chance.uniform(0, 0.05))
        kill_keeper(keeper, victim)
    assert len(keeper.list()) == 20  # somebody is there to see them end
    for name in names:
        type_directly(keeper, name)
    if victim != "both":
        kill_keeper(keeper, victim)
    for number, name in enumerate(names):
        record = keeper.wait(name, 20)
        assert record is not None
        assert record.exit_code == number + 1
        assert counted(tmp_path / name, 200)


def test_a_chatty_container_loses_and_doubles_nothing(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    """Killed while batches are between FIFO and log."""
    log = tmp_path / "log"
    (bundle / "rootfs/seq").write_text("".join(f"{number}\n" for number in range(200_000)))
    keeper.create(plan("c", config("cat", "/seq"), bundle), log_path=str(log))
    keeper.start("c")
    for lines in (1, 40_000, 80_000, 120_000):
        wait_for_lines(log, lines)
        kill_keeper(keeper, "supervisor")
    assert keeper.wait("c", 20) is not None
    assert counted(log, 200_000)


@pytest.mark.parametrize("victim", VICTIMS)
def test_half_a_line_stays_half_a_line(keeper: Keeper, bundle: Path, tmp_path: Path, victim: str) -> None:
    log = tmp_path / "log"
    script = "printf 'one '; read x; echo two"
    keeper.create(plan("c", config("sh", "-c", script), bundle), log_path=str(log), stdin=True)
    attachment = keeper.attach("c")
    keeper.start("c")
    read_until(attachment, b"one ")
    kill_keeper(keeper, victim)
    keeper.attach("c").send(b"go\n")
    assert keeper.wait("c", 10) is not None
    assert read_log(log, "stdout") == "one two\n"


@pytest.mark.parametrize("victim", ["supervisor", "anchor"])
def test_a_terminal_outlives_it_with_its_log_and_attach(
    keeper: Keeper, bundle: Path, tmp_path: Path, victim: str
) -> None:
    log = tmp_path / "log"
    script = "stty -echo; echo before; read x; echo got $x; stty size; exit 6"
    keeper.create(plan("c", config("sh", "-c", script, terminal=True), bundle), log_path=str(log))
    keeper.start("c")
    wait_for_lines(log, 1)
    kill_keeper(keeper, victim)
    attachment = keeper.attach("c")
    keeper.resize("c", 40, 50)
    attachment.send(b"text\n")
    read_until(attachment, b"40 50")
    record = keeper.wait("c", 10)
    assert record is not None
    assert record.exit_code == 6
    assert read_log(log, "stdout").replace("\r", "") == "before\ngot text\n40 50\n"


@pytest.mark.parametrize("victim", ["supervisor", "anchor"])
def test_an_exit_while_nobody_looks_is_recorded(keeper: Keeper, bundle: Path, victim: str) -> None:
    pid = keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    kill_keeper(keeper, victim)
    os.kill(pid, signal.SIGKILL)
    record = keeper.wait("c", 20)
    assert record is not None
    assert record.exit_code == 137


def test_an_exit_while_all_of_it_is_dead_is_unknown(keeper: Keeper, bundle: Path) -> None:
    pid = keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    kill_keeper(keeper, "both")
    kill_and_wait(pid)
    while os.path.exists(f"/proc/{pid}"):  # until whoever is its parent now has reaped it
        select.select([], [], [], 0.01)
    record = keeper.wait("c", 20)
    assert record is not None
    assert (record.exit_code, record.signal) == (255, 0)


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_created_container_can_be_started_by_the_next(keeper: Keeper, bundle: Path, victim: str) -> None:
    keeper.create(plan("c", config("sh", "-c", "exit 3"), bundle))
    kill_keeper(keeper, victim)
    assert keeper.state("c").status == "created"
    keeper.start("c")
    record = keeper.wait("c", 20)
    assert record is not None
    assert record.exit_code == 3


def test_a_create_that_was_cut_off_leaves_nothing(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    """Killed at random moments of create and start: afterwards it is there and works, or it is not there."""
    chance = random.Random(5)
    for number in range(6):
        keeper.list()
        name = f"c{number}"
        supervisor = keeper.call("version", {}).message["pid"]
        killer = subprocess.Popen(["sh", "-c", f"sleep {chance.uniform(0, 0.03):.3f}; kill -9 {supervisor}"])
        try:
            keeper.create(plan(name, config("sh", "-c", "exit 3"), bundle), log_path=str(tmp_path / name))
            keeper.start(name)
        except Unavailable:
            pass
        killer.wait()
        found = keeper.list().get(name)
        if found is not None and found.status == "created":
            keeper.start(name)
        if found is not None:
            record = keeper.wait(name, 10)
            assert record is not None
            assert record.exit_code == 3
            keeper.delete(name)
    assert os.listdir(f"{keeper.run_root}/keeper/containers") == []
    cgroups = subprocess.run(
        ["find", "/sys/fs/cgroup", "-type", "d", "-path", "*rundlet-test/c*"],
        capture_output=True,
        check=False,
    )
    assert cgroups.stdout == b""


@pytest.mark.parametrize("victim", VICTIMS)
def test_stdin_that_stays_open_is_not_ended_by_a_death(keeper: Keeper, bundle: Path, victim: str) -> None:
    keeper.create(plan("c", config("sh", "-c", "cat; echo ended"), bundle), stdin=True)
    keeper.start("c")
    kill_keeper(keeper, victim)
    attachment = keeper.attach("c")
    attachment.send(b"still here\n")
    assert read_until(attachment, b"\n") == b"still here\n"


def test_pods_outlive_it(keeper: Keeper) -> None:
    pod = keeper.make_pod("p", ("net", "pid"))
    for fd in (pod.netns_fd, pod.route_fd):
        os.close(fd)
    for victim in VICTIMS:
        kill_keeper(keeper, victim)
        assert keeper.list() == {}
        assert os.path.exists(f"/proc/{pod.init_pid}")
    keeper.remove_pod("p")
    assert not os.path.exists(pod.paths["net"])


def test_a_stream_in_flight_fails_with_a_word(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    watch = keeper.watch()
    kill_keeper(keeper, "supervisor")
    with pytest.raises(Unavailable):
        next(iter(watch))


@pytest.mark.parametrize("victim", VICTIMS)
def test_an_exec_outlives_it(keeper: Keeper, bundle: Path, victim: str) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    read_fd, write_fd = os.pipe()
    process = ProcessPlan(("sh", "-c", "read x; exit 9"), (PATH,), "/")
    handle = keeper.exec("c", process, stdin_fd=read_fd)
    os.close(read_fd)
    kill_keeper(keeper, victim)
    assert keeper.state("c").status == "running"
    os.write(write_fd, b"go\n")
    os.close(write_fd)
    record = handle.wait(10)
    handle.close()
    assert record is not None
    assert record.exit_code == 9


CALLER = """
import os, sys
from rundlet.keeper.client import Keeper
from rundlet.plan.process import ProcessPlan
handle = Keeper(sys.argv[1]).exec("c", ProcessPlan(("sh", "-c", "sleep 0.3; exit 9"), (sys.argv[2],), "/"))
print(handle.exec_id, flush=True)
handle.wait()
"""


def test_an_exec_of_a_killed_client_is_recorded(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, keeper.run_root, PATH], stdout=subprocess.PIPE, text=True
    ) as caller:
        assert caller.stdout is not None
        exec_id = caller.stdout.readline().strip()
        caller.kill()
    record = keeper.wait_exec("c", exec_id, 10)
    assert record is not None
    assert (record.exit_code, record.exec_id) == (9, exec_id)
    with pytest.raises(NotFound):
        keeper.wait_exec("c", "no-such-one")
