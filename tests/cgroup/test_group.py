import os
import signal
import subprocess
import sys

import pytest

from rundlet.cgroup.group import Group, parse_group_path
from rundlet.cgroup.layout import Layout, detect_layout
from rundlet.errors import FailedPrecondition, InvalidArgument, NotFound

V1 = Layout(
    1,
    {"cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct", "memory": "/cg/memory"},
    {"cpu": "/", "cpuacct": "/", "memory": "/me"},
)
V2 = Layout(2, {"": "/cg", "cpu": "/cg", "memory": "/cg"}, {"": "/me", "cpu": "/me", "memory": "/me"})


@pytest.mark.parametrize(
    ("text", "path"),
    [("/kubepods/pod1", "/kubepods/pod1"), ("//a/./b//", "/a/b"), ("a/b", "a/b"), ("/a:b:c", "/a:b:c")],
)
def test_paths(text, path):
    assert parse_group_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        ".",
        "..",
        "/a/../b",
        "/a\nb",
        "/a\0b",
        "system.slice:rundlet:1",
        ":rundlet:1",
        "kubepods.slice",
    ],
)
def test_paths_that_are_refused(text):
    with pytest.raises(InvalidArgument):
        parse_group_path(text)


def test_systemds_notation_says_what_to_do():
    with pytest.raises(InvalidArgument) as caught:
        parse_group_path("system.slice:rundlet:1")
    assert "systemd driver" in caught.value.hint


def test_absolute_paths_count_from_the_mount_and_relative_ones_from_us():
    assert Group(V1, "/a/b").directory("memory") == "/cg/memory/a/b"
    assert Group(V1, "a/b").directory("memory") == "/cg/memory/me/a/b"
    assert Group(V1, "a/b").directory("cpu") == "/cg/cpu,cpuacct/a/b"
    assert Group(V2, "a").directory("memory") == "/cg/me/a"


def test_controllers_mounted_together_are_joined_once():
    assert Group(V1, "/a").join_files() == ("/cg/cpu,cpuacct/a/tasks", "/cg/memory/a/tasks")
    assert Group(V2, "/a").join_files() == ("/cg/a/cgroup.procs",)


def test_a_controller_that_the_host_lacks():
    group = Group(V1, "/a")
    with pytest.raises(NotFound):
        group.directory("rdma")
    assert not group.has("rdma", "rdma.max")


def test_a_group_that_was_never_made_is_empty_and_removed():
    group = Group(V1, "/a")
    assert not group.exists()
    assert group.pids(recursive=True) == []
    group.kill()
    group.remove()


def test_the_keeper_can_afford_the_import():
    script = "import sys; sys.path.insert(0, 'src'); import rundlet.cgroup.stats; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"msgspec", "asyncio", "dataclasses", "pathlib", "subprocess", "inspect", "json", "logging"}
    assert heavy & set(done.stdout.split()) == set()


# -- on the real kernel --------------------------------------------------------------

kernel = pytest.mark.kernel


@kernel
def test_make_join_and_remove(any_group, spawn):
    any_group.make()
    any_group.make()
    assert any_group.exists()
    pid = spawn(any_group)
    assert any_group.pids() == [pid]
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        places = dict(line.rstrip("\n").split(":", 2)[1:] for line in file)
    assert all(places[name] == any_group.path for name in any_group.layout.mounts if name in places)
    with pytest.raises(FailedPrecondition):
        any_group.remove(timeout_s=0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    any_group.remove()
    assert not any_group.exists()


@kernel
def test_a_deep_path_is_made_and_removed_with_what_is_below(any_group):
    below = Group(any_group.layout, f"{any_group.path}/one/two")
    below.make()
    any_group.remove()
    assert not below.exists()
    assert not any_group.exists()


@kernel
def test_a_failed_make_leaves_nothing(group):
    # Longer than PATH_MAX, so the parent is made and then this is not.
    bad = Group(group.layout, f"{group.path}/{'x' * 5000}")
    with pytest.raises(InvalidArgument):
        bad.make()
    assert not group.exists()


@kernel
def test_write_and_its_errors(group):
    group.make()
    group.write("pids", "pids.max", "17")
    with open(f"{group.directory('pids')}/pids.max", encoding="ascii") as file:
        assert file.read() == "17\n"
    with pytest.raises(InvalidArgument) as caught:
        group.write("pids", "pids.max", "many")
    assert group.path in caught.value.message
    with pytest.raises(NotFound):
        group.write("pids", "pids.unknown", "1")


@kernel
def test_the_pids_limit_holds(group, spawn):
    group.make()
    group.write("pids", "pids.max", "1")
    answer, report = os.pipe()

    def fork_once():
        try:
            os.fork()
        except BlockingIOError:
            os.write(report, b"refused")
        signal.pause()

    spawn(group, fork_once)
    assert os.read(answer, 16) == b"refused"
    os.close(answer)
    os.close(report)


@kernel
def test_limits_are_raised_and_lowered_whatever_the_order(group):
    group.make()
    if not group.has("memory", "memory.memsw.limit_in_bytes"):
        pytest.skip("cgroup v1 swap accounting not on this host")
    for limit in (64, 128, 32):
        group.apply(
            [
                ("memory", "memory.limit_in_bytes", str(limit << 20)),
                ("memory", "memory.memsw.limit_in_bytes", str(limit << 20)),
            ]
        )
        with open(f"{group.directory('memory')}/memory.memsw.limit_in_bytes", encoding="ascii") as file:
            assert int(file.read()) == limit << 20


@kernel
def test_apply_reports_what_stays_refused(group):
    group.make()
    with pytest.raises(InvalidArgument):
        group.apply([("pids", "pids.max", "many"), ("pids", "pids.max", "5")])


@kernel
def test_freeze_stops_and_thaw_goes_on(any_group, spawn):
    any_group.make()
    ready, report = os.pipe()

    def answer_signal():
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        os.write(report, b"1")
        signal.pause()

    pid = spawn(any_group, answer_signal)
    os.read(ready, 1)
    os.close(ready)
    os.close(report)
    any_group.freeze()
    assert any_group.is_frozen()
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    any_group.thaw()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@kernel
def test_kill_reaches_everything_below_even_frozen(any_group, spawn):
    below = Group(any_group.layout, f"{any_group.path}/below")
    below.make()
    pids = [spawn(any_group), spawn(below)]
    assert any_group.pids() == pids[:1]
    assert any_group.pids(recursive=True) == sorted(pids)
    any_group.freeze()
    any_group.kill()
    assert any_group.pids(recursive=True) == []
    assert {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids} == {-signal.SIGKILL}


@kernel
def test_kill_outruns_a_process_that_keeps_forking(group, spawn):
    group.make()
    group.write("pids", "pids.max", "60")

    def fork_forever():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            try:
                os.fork()
            except BlockingIOError:
                continue

    spawn(group, fork_forever)
    group.kill()
    assert group.pids() == []


@kernel
def test_kill_refuses_to_kill_its_caller():
    here = Group(detect_layout(), "here")
    here.make()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            for path in here.join_files():
                with open(path, "w", encoding="ascii") as file:
                    file.write("0")
            here.kill()
        except FailedPrecondition:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    here.remove()


@kernel
def test_cpusets_start_as_their_parents(group):
    if "cpuset" not in group.layout.mounts or group.layout.version == 2:
        pytest.skip("a version 1 cpuset hierarchy not on this host")
    below = Group(group.layout, f"{group.path}/below")
    below.make()
    root = group.layout.mounts["cpuset"]
    for file in ("cpuset.cpus", "cpuset.mems"):
        with open(f"{root}/{file}", encoding="ascii") as theirs:
            expected = theirs.read()
        with open(f"{below.directory('cpuset')}/{file}", encoding="ascii") as ours:
            assert ours.read() == expected
