"""The process that makes processes, and those it makes ahead: killed, idle, out of date."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rundlet.keeper.client import Keeper
from rundlet.plan.container import ContainerPlan
from rundlet.spec import runtime as spec
from tests.keeper.bundle import MOUNTS, config, plan
from tests.keeper.conftest import Outcome
from tests.keeper.deaths import kill_and_wait

ROOT = Path(__file__).parents[2]


def supervisor_of(keeper: Keeper) -> int:
    return int(keeper.call("version", {}).message["pid"])


def is_born_into_a_namespace(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return len(next(line for line in status.splitlines() if line.startswith("NSpid:")).split()) > 2


def processes(keeper: Keeper, *, spare: bool) -> list[int]:
    """The supervisor's children that are no containers: its nursery, or the process made ahead."""
    supervisor = supervisor_of(keeper)
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    ours = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "rundlet-keeper\n"]
    return [pid for pid in ours if is_born_into_a_namespace(pid) == spare]


def await_spare(keeper: Keeper) -> int:
    """It is made after the last start was answered."""
    deadline = time.monotonic() + 10
    while not (found := processes(keeper, spare=True)):
        assert time.monotonic() < deadline
        select.select([], [], [], 0.001)
    return found[0]


def await_end(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)


def sleeper(name: str, bundle: Path) -> ContainerPlan:
    return plan(name, config("sleep", "1000"), bundle)


@pytest.mark.kernel
def test_a_killed_nursery_is_replaced(keeper: Keeper, bundle: Path) -> None:
    keeper.run(sleeper("a", bundle))
    await_spare(keeper)
    (nursery,) = processes(keeper, spare=False)
    kill_and_wait(nursery)
    for name in ("b", "c", "d"):
        keeper.run(sleeper(name, bundle))
    assert {state.status for state in keeper.list().values()} == {"running"}
    assert nursery not in processes(keeper, spare=False)


@pytest.mark.kernel
def test_a_process_that_died_while_it_waited_for_work_is_replaced(keeper: Keeper, bundle: Path) -> None:
    keeper.run(sleeper("a", bundle))
    spare = await_spare(keeper)
    kill_and_wait(spare)
    assert keeper.run(sleeper("b", bundle)).pid not in (0, spare)
    await_end(spare)  # reaped, too: no zombie stays
    assert not Path(f"/proc/{spare}").exists()


@pytest.mark.kernel
def test_a_process_made_ahead_is_the_next_container(keeper: Keeper, bundle: Path) -> None:
    keeper.run(sleeper("a", bundle))
    spare = await_spare(keeper)
    assert keeper.run(sleeper("b", bundle)).pid == spare


@pytest.mark.kernel
def test_an_idle_keeper_is_two_processes(keeper: Keeper, bundle: Path) -> None:
    keeper.run(sleeper("a", bundle))
    spare = await_spare(keeper)
    (nursery,) = processes(keeper, spare=False)
    await_end(spare)
    await_end(nursery)
    assert processes(keeper, spare=True) == processes(keeper, spare=False) == []


@pytest.mark.kernel
def test_what_was_made_ahead_leaves_with_its_supervisor(keeper: Keeper, bundle: Path) -> None:
    keeper.run(sleeper("a", bundle))
    spare = await_spare(keeper)
    (nursery,) = processes(keeper, spare=False)
    kill_and_wait(supervisor_of(keeper))
    await_end(spare)
    await_end(nursery)
    assert keeper.state("a").status == "running"


@pytest.mark.kernel
def test_a_process_made_ahead_sees_what_was_mounted_since(keeper: Keeper, bundle: Path) -> None:
    source = bundle / "volume"
    source.mkdir()
    keeper.run(sleeper("a", bundle))
    spare = await_spare(keeper)
    subprocess.run(["mount", "-t", "tmpfs", "late", source], check=True)
    try:
        (source / "file").write_text("late\n")
        mount = spec.Mount("/volume", str(source), "bind", ["bind"])
        plain = config("sh", "-c", "cat /volume/file; sleep 1000")
        wanted = plain.replace(mounts=[*MOUNTS, mount])
        log = bundle / "log"
        assert keeper.run(plan("b", wanted, bundle), log_path=str(log)).pid == spare
        while not log.exists() or b"late" not in log.read_bytes():
            select.select([], [], [], 0.002)
        keeper.delete("b")
    finally:
        subprocess.run(["umount", source], check=True)


@pytest.mark.kernel
def test_descriptors_of_the_supervisor_stay_out_of_what_it_has_made(run: Callable[..., Outcome]) -> None:
    listed = run(config("ls", "-l", "/proc/self/fd")).stdout
    assert "socket" not in listed
    assert "memfd" not in listed


@pytest.mark.parametrize("module", ["typing", "socket", "enum", "ctypes", "json", "re"])
def test_the_anchor_stays_small(module: str) -> None:
    script = "import sys; import rundlet.keeper.anchor; print(*sys.modules)"
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {script}",
    ]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert module not in loaded


@pytest.mark.parametrize("module", ["typing", "enum", "re", "functools", "contextlib", "selectors"])
def test_the_supervisor_stays_lean(module: str) -> None:
    script = "from rundlet import lean; lean.install(); import rundlet.keeper.supervisor; "
    script += "print(*(name for name, found in sys.modules.items() if type(found) is not lean.Lean))"
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); {script}",
    ]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert module not in loaded
