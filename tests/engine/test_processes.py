"""What the kernel tells of processes, locks and mounts."""

import fcntl
import os
import subprocess
import sys
import time

import pytest

from rundlet.engine.processes import (
    describe_process,
    find_lock_holders,
    find_mount_users,
    list_children,
    read_process,
)

# Until its child has executed a program a process that spawns is in uninterruptible sleep (vfork(2)),
# and opening a FIFO keeps the child from that.
SPAWN = """
import os, sys
print("here", flush=True)
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)])
"""


def await_state(pid, state):
    deadline = time.monotonic() + 20
    while (facts := read_process(pid)).state != state:
        assert time.monotonic() < deadline, facts
        time.sleep(0.005)
    return facts


def test_a_process_in_uninterruptible_sleep_tells_where_in_the_kernel(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen([sys.executable, "-c", SPAWN, str(fifo)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        facts = await_state(process.pid, "D")
        lines = describe_process(facts)
        assert f"process {process.pid} ({sys.executable}" in lines[0]
        assert "is in uninterruptible sleep" in lines[0]
        assert len(lines) == 1 + len(facts.stack)
        assert len(list_children(process.pid)) == 1
        fifo.write_bytes(b"")


def test_a_process_that_is_gone():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert read_process(process.pid) is None


def test_the_holder_of_a_lock_is_found(tmp_path):
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert find_lock_holders(str(path)) == [os.getpid()]
    assert find_lock_holders(str(path)) == []
    assert find_lock_holders(str(tmp_path / "absent")) == []


def test_who_is_in_a_directory_is_found(tmp_path):
    place = tmp_path / "c0ffee" / "rootfs"
    place.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], cwd=place) as process:
        assert list(find_mount_users("/c0ffee/")) == [f"process {process.pid} (sleep) has {place} open"]
        process.kill()


@pytest.mark.kernel
def test_another_mount_namespace_that_keeps_a_mount_is_found(tmp_path):
    place = tmp_path / "c0ffee"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo here; exec sleep 60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd="/") as process:
        process.stdout.readline()
        subprocess.run(["umount", str(place)], check=True)
        (line,) = find_mount_users("/c0ffee")
        assert line.startswith(f"process {process.pid} (")
        assert line.endswith("has it in its mount namespace")
        process.kill()
