import mmap
import os
import signal
import time

import pytest

from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import Layout
from rundlet.cgroup.pressure import Pressure, Stall
from rundlet.cgroup.stats import GroupStats, read_oom_kills, read_stats
from rundlet.errors import NotFound

MIB = 1 << 20
PRESSURE = (
    "some avg10=0.25 avg60=1.50 avg300=100.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"
)


def make_group(tmp_path, version, files):
    """A group over plain files: the figures as the kernel's documentation prints them."""
    for path, text in files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    if version == 2:
        mounts = dict.fromkeys(["", "cpu", "memory", "pids"], str(tmp_path))
    else:
        mounts = {name: str(tmp_path / name) for name in ("cpuacct", "memory", "pids")}
    return Group(Layout(version, mounts, dict.fromkeys(mounts, "/")), "/g")


def test_version_1(tmp_path):
    group = make_group(
        tmp_path,
        1,
        {
            "cpuacct/g/cpuacct.usage": "123456789\n",
            "memory/g/memory.usage_in_bytes": "1000\n",
            "memory/g/memory.limit_in_bytes": "5000\n",
            "memory/g/memory.memsw.limit_in_bytes": "5100\n",
            "memory/g/memory.stat": "cache 5\nrss 1\ntotal_rss 400\ntotal_swap 7\ntotal_inactive_file 250\n"
            "total_pgfault 12\ntotal_pgmajfault 3\nhierarchical_memory_limit 18446744073709551615\n",
            "memory/g/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            "pids/g/pids.current": "4\n",
        },
    )
    assert read_stats(group) == GroupStats(
        cpu_usage_ns=123456789,
        memory_usage_bytes=1000,
        working_set_bytes=750,
        rss_bytes=400,
        limit_bytes=5000,
        page_faults=12,
        major_page_faults=3,
        swap_bytes=7,
        pids=4,
        oom_kills=2,
        swap_limit_bytes=100,
    )


def test_version_2(tmp_path):
    group = make_group(
        tmp_path,
        2,
        {
            "g/cpu.stat": "usage_usec 123456\nuser_usec 1\n",
            "g/memory.current": "1000\n",
            "g/memory.max": "4096\n",
            "g/memory.swap.current": "7\n",
            "g/memory.swap.max": "100\n",
            "g/cpu.pressure": PRESSURE,
            "g/memory.pressure": PRESSURE.replace("12", "13"),
            "g/io.pressure": "full avg10=1.5 total=9\n",
            "g/memory.stat": "anon 400\nfile 600\ninactive_file 2000\npgfault 12\npgmajfault 3\n",
            "g/memory.events": "low 0\noom 1\noom_kill 2\n",
            "g/pids.current": "4\n",
        },
    )
    stats = read_stats(group)
    assert stats[:-1] == (123456000, 1000, 0, 400, 4096, 12, 3, 7, 4, 2, 100)
    full = Stall(5)
    assert stats.pressure == (
        Pressure(Stall(12, 0.25, 1.5, 100.0), full),
        Pressure(Stall(13, 0.25, 1.5, 100.0), full),
        Pressure(Stall(), Stall(9, 1.5)),
    )


def test_no_limit_on_version_2(tmp_path):
    assert read_stats(make_group(tmp_path, 2, {"g/memory.max": "max\n"})).limit_bytes == 0


def test_what_the_host_does_not_keep_is_zero(tmp_path):
    assert read_stats(make_group(tmp_path, 1, {"pids/g/pids.current": "1\n"})) == GroupStats(pids=1)


def test_a_group_that_is_gone(tmp_path):
    group = make_group(tmp_path, 1, {})
    with pytest.raises(NotFound):
        read_stats(group)
    assert read_oom_kills(group) == 0


@pytest.mark.kernel
def test_figures_of_a_process(group, spawn):
    group.make()
    group.write(
        "memory", "memory.limit_in_bytes" if group.layout.version == 1 else "memory.max", str(64 * MIB)
    )
    done, report = os.pipe()

    def work():
        area = mmap.mmap(-1, 8 * MIB)
        area.write(b"x" * 8 * MIB)
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        os.write(report, b"1")
        signal.pause()

    spawn(group, work)
    os.read(done, 1)
    stats = read_stats(group)
    os.close(done)
    os.close(report)
    assert stats.cpu_usage_ns >= 20_000_000
    assert 8 * MIB <= stats.memory_usage_bytes < 64 * MIB
    assert 8 * MIB <= stats.working_set_bytes <= stats.memory_usage_bytes
    assert stats.limit_bytes == 64 * MIB
    assert stats.pids == 1
    assert stats.oom_kills == 0


@pytest.mark.kernel
def test_oom_kills_are_counted(group, spawn):
    group.make()
    memory = "memory.limit_in_bytes" if group.layout.version == 1 else "memory.max"
    group.write("memory", memory, str(8 * MIB))
    for file in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
        if group.has("memory", file):
            group.write("memory", file, str(8 * MIB) if "memsw" in file else "0")
    pid = spawn(group, lambda: mmap.mmap(-1, 64 * MIB).write(b"x" * 64 * MIB))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert read_oom_kills(group) == 1
