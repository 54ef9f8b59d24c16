"""Checks of a hybrid machine: version 1 with every controller, version 2 for tracking, systemd as pid 1."""

import os
import signal
import time

import systemd

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.cgroup.stats import read_oom_kills, read_stats
from rundlet.cgroup.systemd import SystemdGroup
from rundlet.plan.resources import plan_resources
from rundlet.plan.unit import plan_unit
from rundlet.spec.model import from_json
from rundlet.spec.runtime import Resources

MIB = 1 << 20
LAYOUT = detect_layout()
LIMITS = {
    "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB, "swappiness": 10},
    "pids": {"limit": 7},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    "devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}],
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
    "blockIO": {"throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": MIB}]},
    "network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]},
}
FILES = {
    ("memory", "memory.limit_in_bytes"): str(64 * MIB),
    ("memory", "memory.memsw.limit_in_bytes"): str(96 * MIB),
    ("memory", "memory.soft_limit_in_bytes"): str(32 * MIB),
    ("memory", "memory.swappiness"): "10",
    ("pids", "pids.max"): "7",
    ("cpu", "cpu.shares"): "512",
    ("cpu", "cpu.cfs_quota_us"): "50000",
    ("cpu", "cpu.cfs_period_us"): "100000",
    ("cpuset", "cpuset.cpus"): "0",
    ("hugetlb", "hugetlb.2MB.limit_in_bytes"): str(4 * MIB),
    ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes"): str(4 * MIB),
    ("blkio", "blkio.throttle.read_bps_device"): f"7:0 {MIB}",
    ("net_cls", "net_cls.classid"): "1048577",
}


def plan(resources, *, unit=False):
    wanted = from_json(Resources, resources, "resources")
    return (*(plan_unit(wanted, 1) if unit else ()), *plan_resources(wanted, 1))


def read(group, controller, file):
    return read_text(f"{group.directory(controller)}/{file}").strip()


def join(group):
    for file in group.join_files():
        with open(file, "w") as opened:
            opened.write("0")


def run(group, work):
    """The exit code of a child that works in the group, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            join(group)
            code = work() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check_layout():
    assert LAYOUT.version == 1, LAYOUT
    wanted = {"cpu", "memory", "cpuset", "devices", "pids", "hugetlb", "blkio", "freezer", "rdma", "net_cls"}
    assert set(LAYOUT.mounts) >= {*wanted, "name=systemd"}, LAYOUT
    assert os.path.exists("/sys/fs/cgroup/unified/cgroup.procs")


def check_conversions():
    group = Group(LAYOUT, "/check/limits")
    group.make()
    group.apply(plan(LIMITS))
    assert {key: read(group, *key) for key in FILES} == FILES
    assert "lo 5" in read(group, "net_prio", "net_prio.ifpriomap").splitlines()
    group.remove()


def check_device_lists():
    def look():
        os.close(os.open("/dev/null", os.O_RDWR))
        os.close(os.open("/dev/kmsg", os.O_RDONLY))
        for path, flags in (("/dev/kmsg", os.O_WRONLY), ("/dev/loop0", os.O_RDONLY)):
            try:
                os.open(path, flags)
            except PermissionError:
                continue
            return 1
        return 0

    group = Group(LAYOUT, "/check/devices")
    group.make()
    group.apply(plan(LIMITS))
    assert run(group, look) == 0
    group.remove()


def check_out_of_memory():
    def eat():
        block = bytearray(64 * MIB)
        block[::4096] = b"x" * len(block[::4096])

    group = Group(LAYOUT, "/check/oom")
    group.make()
    group.apply(plan({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}))
    assert run(group, eat) == -signal.SIGKILL
    assert read_oom_kills(group) == 1
    assert read_stats(group).limit_bytes == 16 * MIB
    group.remove()


def check_freeze_and_kill():
    group = Group(LAYOUT, "/check/freeze")
    group.make()
    pid = os.fork()
    if pid == 0:
        join(group)
        while True:
            pass
    while group.pids() != [pid]:
        time.sleep(0.01)
    group.freeze()
    assert group.is_frozen()
    group.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    group.remove()


def check_a_scope_in_every_hierarchy():
    group = SystemdGroup(LAYOUT, "machine.slice:rundlet:one")
    group.make()
    group.apply(plan(LIMITS, unit=True))
    pid = os.fork()
    if pid == 0:
        join(group)
        signal.pause()
    while pid not in group.pids():
        time.sleep(0.01)
    group.settle()
    own = {line.split(":")[1]: line.split(":")[2] for line in read_text(f"/proc/{pid}/cgroup").splitlines()}
    assert set(own.values()) == {"/machine.slice/rundlet-one.scope"}, own
    assert {key: read(group, *key) for key in FILES} == FILES
    with systemd.Manager() as manager:
        assert manager.read_property("rundlet-one.scope", "Scope", "TasksMax") == 7
        manager._call("Reload")
    assert {key: read(group, *key) for key in FILES} == FILES
    group.kill()
    os.waitpid(pid, 0)
    group.remove()
    assert systemd.state("rundlet-one.scope") == "gone"
    assert not group.exists()


def check_the_runtime_with_systemd():
    from runtime import run_container

    limit_file = "memory/memory.limit_in_bytes"
    life = run_container("machine.slice:oci:box", "--systemd-cgroup", limit_file=limit_file)
    assert "memory:/machine.slice/oci-box.scope\n" in next(life)
    group = SystemdGroup(LAYOUT, "machine.slice:oci:box")
    assert read(group, "memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert next(life) == "started"
    assert read(group, "pids", "pids.max") == "30"
    assert next(life, None) is None
    assert not group.exists()
