"""Calls, files, limits, snapshots and pools of sandboxes."""

import io
import signal
import subprocess
import sys
import threading
import time

import pytest

from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from rundlet.local.machine import Machine
from rundlet.local.settings import MachineSettings
from rundlet.sandbox.limits import MIB, Limits, check_limits
from rundlet.sandbox.plan import choose_first_id
from rundlet.sandbox.pool import SandboxPool
from rundlet.sandbox.sandbox import TIMED_OUT
from tests.sandbox.conftest import MakeSandbox


@pytest.mark.kernel
def test_many_calls_see_the_same_files(sandbox: MakeSandbox) -> None:
    box = sandbox()
    box.write("/work/main.py", "print(input()[::-1])")
    assert box.run(["python3", "main.py"], stdin="abc").stdout == "cba\n"
    box.run(["sh", "-c", "echo $A > out"], env={"A": "value"})
    assert box.read_text("/work/out") == "value\n"
    assert box.list() == ["main.py", "out"]
    done = box.run(["sh", "-c", "echo no >&2; exit 3"])
    assert (done.stderr, done.exit_code, done.ok) == ("no\n", 3, False)


@pytest.mark.kernel
def test_what_takes_too_long_is_killed_with_all_it_started(sandbox: MakeSandbox) -> None:
    box = sandbox()
    script = "echo begun; setsid sleep 600 & nohup sleep 600 & sleep 600"
    done = box.run(["sh", "-c", script], timeout_s=0.3)
    assert (done.timed_out, done.exit_code, done.stdout) == (True, TIMED_OUT, "begun\n")
    assert "sleep" not in box.run(["ps"]).stdout
    assert box.run(["echo", "still here"]).stdout == "still here\n"


@pytest.mark.kernel
def test_output_beyond_the_limit_is_dropped(sandbox: MakeSandbox) -> None:
    box = sandbox(limits=Limits(output_bytes=1000))
    done = box.run(["python3", "-c", "print('x' * 10**7)"])
    assert done.truncated
    assert len(done.stdout) == 1000


@pytest.mark.kernel
def test_a_fork_has_the_files_and_goes_its_own_way(sandbox: MakeSandbox) -> None:
    box = sandbox()
    box.write("/work/deep/shared", "both")
    with box.fork() as other:
        assert other.read("/work/deep/shared") == b"both"
        other.run(["sh", "-c", "echo mine > deep/shared"])
        assert other.read("/work/deep/shared") == b"mine\n"
    assert box.read("/work/deep/shared") == b"both"


@pytest.mark.kernel
def test_a_snapshot_of_a_prepared_image_makes_any_number(sandbox: MakeSandbox) -> None:
    box = sandbox(writable=True)
    assert box.run(["sh", "-c", "mkdir /opt && echo tool > /opt/tool && chmod 600 /opt/tool"], user="root").ok
    snapshot = box.snapshot()
    assert box.run(["busybox", "rm", "-r", "/opt"], user="root").ok
    for _ in range(2):
        fresh = sandbox(snapshot)
        assert fresh.run(["cat", "/opt/tool"], user="root").stdout == "tool\n"
        assert not fresh.run(["cat", "/opt/tool"]).ok


@pytest.mark.kernel
def test_trees_go_in_and_out(sandbox: MakeSandbox) -> None:
    box = sandbox()
    box.write("/work/a/b/c.txt", "deep")
    packed = box.pack("/work/a")
    other = sandbox()
    other.unpack("/tmp", io.BytesIO(packed))
    assert other.read("/tmp/a/b/c.txt") == b"deep"
    with pytest.raises(ResourceExhausted):
        box.read("/work/a/b/c.txt", limit_bytes=2)


@pytest.mark.kernel
def test_a_closed_sandbox_says_so_and_leaves_nothing(machine: Machine, sandbox: MakeSandbox) -> None:
    box = sandbox()
    box.close()
    box.close()
    with pytest.raises(FailedPrecondition):
        box.run(["true"])
    assert not machine.engine.pods.list()


@pytest.mark.kernel
def test_a_missing_program_is_an_error_of_the_caller(sandbox: MakeSandbox) -> None:
    with pytest.raises(NotFound):
        sandbox().run(["no-such-program"])


@pytest.mark.kernel
def test_a_pool_gives_sandboxes_that_nobody_has_used(machine: Machine, image: str) -> None:
    with SandboxPool(image, size=2, machine=machine) as pool:
        assert pool.wait_ready(30)
        assert pool.run(["sh", "-c", "echo secret > mine; echo ok"]).stdout == "ok\n"
        with pool.take() as box:
            assert box.list() == []
            assert box.run(["true"]).ok
        assert pool.wait_ready(30)
    assert not machine.engine.pods.list()


@pytest.mark.kernel
def test_a_pool_of_no_image_fails_at_once(machine: Machine, registry: str) -> None:
    with pytest.raises(NotFound):
        SandboxPool(f"{registry}/nothing:latest", machine=machine)


@pytest.mark.kernel
def test_sandboxes_of_a_killed_process_go_with_the_next_start(
    machine_settings: MachineSettings, machine: Machine, sandbox: MakeSandbox, image: str
) -> None:
    machine.engine.images.pull(image)
    program = (
        "import os, signal, sys\n"
        "from rundlet.engine.settings import Settings\n"
        "from rundlet.local.machine import Machine\n"
        "from rundlet.local.settings import MachineSettings, Places\n"
        "from rundlet.sandbox.sandbox import Sandbox\n"
        "places = Places(*sys.argv[1:4])\n"
        "settings = Settings(root=places.root, run_root=places.run_root, default_cgroup_parent='/local-test')\n"
        "Sandbox(sys.argv[4], machine=Machine(MachineSettings(places, settings)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, *machine_settings.places, image]
    assert subprocess.run(command, check=False, timeout=30).returncode == -signal.SIGKILL
    assert len(machine.engine.pods.list()) == 1
    box = sandbox()
    assert [pod.id for pod in machine.engine.pods.list()] == [box._pod_id]


@pytest.mark.kernel
def test_calls_may_overlap(sandbox: MakeSandbox) -> None:
    box = sandbox()
    answers: list[str] = []
    script = "import time, sys; time.sleep(0.2); print(sys.argv[1])"
    threads = [
        threading.Thread(target=lambda n=n: answers.append(box.run(["python3", "-c", script, str(n)]).stdout))
        for n in range(4)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["0\n", "1\n", "2\n", "3\n"]
    assert time.monotonic() - started < 30


def test_limits_must_be_limits() -> None:
    with pytest.raises(InvalidArgument, match=r"limits\.memory_bytes"):
        check_limits(Limits(memory_bytes=0))
    assert Limits().memory_bytes == 512 * MIB


def test_no_two_sandboxes_have_the_same_ids() -> None:
    taken: set[int] = set()
    for _ in range(100):
        taken.add(choose_first_id(taken, 7))
    assert len(taken) == 100
    with pytest.raises(ResourceExhausted):
        choose_first_id(set(range(1 << 30, (1 << 30) + (1 << 30), 1 << 16)), 7)
