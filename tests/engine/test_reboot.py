"""After a reboot: the root is there, the run root is empty, nothing runs, the boot has another id."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from rundlet.engine.engine import Engine
from rundlet.engine.options import ContainerOptions, PodOptions
from rundlet.engine.settings import Settings
from rundlet.kernel.mount import MNT_DETACH, umount
from tests.engine.test_engine import assert_nothing_left

pytestmark = pytest.mark.kernel


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def await_death(pid: int) -> None:
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline, f"{pid} lives"
        time.sleep(0.01)


def crash(engine: Engine) -> None:
    """What a power cut leaves, as far as this kernel can be made to forget."""
    pids = [status.pid for status in engine.containers.list() if status.pid]
    pids += [record.facts.init_pid for record in engine._parts.pods.list() if record.facts.init_pid]
    supervisor = engine._parts.keeper.call("version", {}).message["pid"]
    engine.close()
    for pid in (parent_of(supervisor), supervisor, *pids):
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        await_death(pid)
    _empty_run_root(engine.settings.run_root)


def _empty_run_root(run_root: str) -> None:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounts if path.startswith(run_root)), reverse=True):
        umount(path, MNT_DETACH)
    shutil.rmtree(run_root)


def forget_boot(settings: Settings) -> None:
    """The records are those of an earlier boot."""
    import sqlite3

    with sqlite3.connect(f"{settings.root}/state.db") as connection:
        for table in ("pods", "containers"):
            connection.execute(f"UPDATE {table} SET facts = json_set(facts, '$.boot_id', 'earlier')")
    connection.close()


def test_everything_of_the_earlier_boot_has_ended_and_work_goes_on(
    engine: Engine, image: str, settings: Settings
) -> None:
    pod = engine.pods.run(PodOptions("p"))
    running = engine.containers.create(pod, ContainerOptions("running", image, command=("sleep", "1000")))
    engine.containers.start(running)
    waiting = engine.containers.create(pod, ContainerOptions("waiting", image, command=("sleep", "1000")))
    crash(engine)
    forget_boot(settings)
    with Engine(settings) as second:
        assert second.pods.status(pod).state == "notready"
        for container in (running, waiting):
            status = second.containers.status(container)
            assert (status.state, status.exit_code, status.pid) == ("exited", 255, 0)
        fresh = second.pods.run(PodOptions("p", attempt=1))
        again = second.containers.create(fresh, ContainerOptions("c", image, command=("sleep", "1000")))
        second.containers.start(again)
        assert second.containers.exec_sync(again, ("cat", "/etc/hosts"), 10).exit_code == 0
        assert second.pods.status(fresh).ips == (
            "10.88.0.3",
        )  # the address of the dead pod is not given at once
        for name in (pod, fresh):
            second.pods.stop(name)
            second.pods.remove(name)
    assert_nothing_left(settings)
