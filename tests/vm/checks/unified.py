"""Checks of cgroup version 2 on a kernel that has all its controllers; they run in the guest."""

import os
import signal
import time

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.cgroup.stats import read_oom_kills, read_stats
from rundlet.errors import Error, FailedPrecondition, InvalidArgument
from rundlet.kernel.clone import clone
from rundlet.plan.resources import plan_resources
from rundlet.spec.model import from_json
from rundlet.spec.runtime import Resources

MIB = 1 << 20
LAYOUT = detect_layout()


class Place:
    """A group of one check, removed at its end with all that runs in it."""

    def __init__(self, path, resources=None):
        self.group = Group(LAYOUT, f"/check/{path}")
        self.children = []
        self.group.make()
        self.apply(resources or {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.group.kill()
        for pid in self.children:
            os.waitpid(pid, 0)
        self.group.remove()
        assert not self.group.exists()

    def apply(self, resources):
        self.group.apply(plan_resources(from_json(Resources, resources, "resources"), 2))

    def read(self, file):
        return read_text(f"{self.group.directory('')}/{file}").strip()

    def spawn(self, work):
        """A child that joins and works; its pid.  It exits with what `work` returns."""
        pid = os.fork()
        if pid:
            self.children.append(pid)
            return pid
        code = 99
        try:
            for file in self.group.join_files():
                with open(file, "w") as opened:
                    opened.write("0")
            code = work() or 0
        finally:
            os._exit(code)

    def run(self, work):
        """The exit code of a child that works here, negative for a signal."""
        pid = self.spawn(work)
        self.children.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def spin():
    while True:
        pass


def eat(size):
    block = bytearray(size)
    block[::4096] = b"x" * len(block[::4096])


def expect(place, wanted):
    found = {file: place.read(file) for file in wanted}
    assert found == wanted, found


# -- layout and groups ---------------------------------------------------------------


def check_layout():
    assert LAYOUT.version == 2
    assert set(LAYOUT.mounts) >= {"", "cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"}, LAYOUT


def check_controllers_are_handed_down():
    with Place("a/b") as place:
        assert set(place.read("cgroup.controllers").split()) == set(LAYOUT.mounts) - {""}


def check_a_process_is_born_into_the_group():
    with Place("born") as place:
        fd = place.group.open_fd()
        child = clone(cgroup_fd=fd)
        if child.pid == 0:
            os._exit(read_text("/proc/self/cgroup") != "0::/check/born\n")
        assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 0
        os.close(child.pidfd)
        os.close(fd)


def check_freeze():
    with Place("freeze") as place:
        pid = place.spawn(spin)
        place.group.freeze()
        assert place.group.is_frozen()
        time.sleep(0.05)  # it counts as frozen a moment before it is off the CPU
        before = read_text(f"/proc/{pid}/stat").split()[13]
        time.sleep(0.1)
        assert read_text(f"/proc/{pid}/stat").split()[13] == before
        place.group.thaw()
        assert not place.group.is_frozen()


def check_kill_takes_frozen_ones_and_groups_below():
    parent = Group(LAYOUT, "/check/kill")
    with Place("kill/idle") as idle, Place("kill/busy") as busy:
        pids = [idle.spawn(signal.pause), busy.spawn(spin)]
        while parent.pids(recursive=True) != sorted(pids):
            time.sleep(0.01)
        parent.freeze()
        parent.kill()
        for pid, owner in zip(pids, (idle, busy), strict=True):
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
            owner.children.clear()
    parent.remove()


def check_remove_takes_groups_below():
    group = Group(LAYOUT, "/check/tree")
    Group(LAYOUT, "/check/tree/a/b/c").make()
    group.remove()
    assert not group.exists()


# -- conversions ---------------------------------------------------------------------


def check_cpu():
    with Place("cpu", {"cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 2000}}) as place:
        expect(place, {"cpu.weight": "59", "cpu.max": "50000 100000", "cpu.max.burst": "2000"})
        place.apply({"cpu": {"quota": -1, "period": 50000}})
        expect(place, {"cpu.max": "max 50000"})


def check_idle_cpu():
    with Place("idle", {"cpu": {"idle": 1, "shares": 2}}) as place:
        expect(place, {"cpu.idle": "1"})


def check_cpuset():
    with Place("cpuset", {"cpu": {"cpus": "0", "mems": "0"}}) as place:
        expect(place, {"cpuset.cpus": "0", "cpuset.mems": "0", "cpuset.cpus.effective": "0"})


def check_memory():
    limits = {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB}}
    with Place("memory", limits) as place:
        wanted = {"memory.max": 64 * MIB, "memory.low": 32 * MIB, "memory.swap.max": 32 * MIB}
        expect(place, {file: str(value) for file, value in wanted.items()})
        place.apply({"memory": {"limit": -1}})
        expect(place, {"memory.max": "max", "memory.swap.max": "max"})


def check_pids():
    with Place("pids", {"pids": {"limit": 7}}) as place:
        expect(place, {"pids.max": "7"})
        place.apply({"pids": {"limit": -1}})
        expect(place, {"pids.max": "max"})


def check_huge_pages():
    with Place("huge", {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}) as place:
        expect(place, {"hugetlb.2MB.max": str(4 * MIB), "hugetlb.2MB.rsvd.max": str(4 * MIB)})


def check_block_throttles():
    devices = {
        "throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": 1 * MIB}],
        "throttleWriteIOPSDevice": [{"major": 7, "minor": 0, "rate": 100}],
    }
    with Place("throttle", {"blockIO": devices}) as place:
        expect(place, {"io.max": f"7:0 rbps={MIB} wbps=max riops=max wiops=100"})


def check_block_weight_without_and_with_bfq():
    weight = {"blockIO": {"weight": 500}}
    with Place("weight", weight) as place:
        expect(place, {"io.weight": "default 4950"})
    assert os.system("insmod /modules/bfq.ko") == 0
    with Place("bfq", weight) as place:
        expect(place, {"io.bfq.weight": "default 500", "io.weight": "default 100"})


def check_raw_keys():
    with Place("raw", {"unified": {"memory.high": str(8 * MIB), "memory.oom.group": "1"}}) as place:
        expect(place, {"memory.high": str(8 * MIB), "memory.oom.group": "1"})


def check_limits_that_cannot_be_kept():
    with Place("refused") as place:
        for resources in (
            {"unified": {"memory.unheard": "1"}},
            {"hugepageLimits": [{"pageSize": "3MB", "limit": 4096}]},
            {"memory": {"swappiness": 10}},
            {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
        ):
            try:
                place.apply(resources)
            except (FailedPrecondition, InvalidArgument):
                continue
            except Error as error:
                assert resources.get("rdma"), error
                continue
            raise AssertionError(f"{resources} was taken")


# -- effects -------------------------------------------------------------------------


def check_out_of_memory():
    with Place("oom", {"memory": {"limit": 16 * MIB, "swap": 16 * MIB}}) as place:
        assert read_oom_kills(place.group) == 0
        assert place.run(lambda: eat(64 * MIB)) == -signal.SIGKILL
        assert read_oom_kills(place.group) == 1
        assert place.run(lambda: eat(MIB)) == 0


def check_too_many_processes():
    def fork():
        try:
            os.fork()
        except BlockingIOError:
            return 11
        return 0

    with Place("fork", {"pids": {"limit": 1}}) as place:
        assert place.run(fork) == 11


def check_statistics():
    with Place("stats", {"memory": {"limit": 32 * MIB}, "pids": {"limit": 10}}) as place:
        ready, writer = os.pipe()

        def work():
            block = bytearray(b"x") * (4 * MIB)
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
            os.write(writer, b"1")
            signal.pause()
            return len(block)

        place.spawn(work)
        os.read(ready, 1)
        stats = read_stats(place.group)
        assert stats.limit_bytes == 32 * MIB
        assert stats.cpu_usage_ns > 40_000_000, stats
        assert 4 * MIB < stats.rss_bytes <= stats.memory_usage_bytes < 32 * MIB, stats
        assert stats.working_set_bytes > 4 * MIB, stats
        assert (stats.pids, stats.oom_kills) == (1, 0), stats
        assert stats.page_faults > 100, stats


def check_device_rules():
    def outcome(path, flags):
        try:
            os.close(os.open(path, flags))
        except PermissionError:
            return 1
        return 0

    def look():
        wanted = [
            ("/dev/null", os.O_RDWR, 0), ("/dev/zero", os.O_RDONLY, 0), ("/dev/kmsg", os.O_RDONLY, 0),
            ("/dev/kmsg", os.O_WRONLY, 1), ("/dev/loop0", os.O_RDONLY, 1), ("/dev/mem", os.O_RDONLY, 1),
        ]  # fmt: skip
        return sum(1 << bit for bit, (path, flags, want) in enumerate(wanted) if outcome(path, flags) != want)

    rules = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    with Place("devices", {"devices": rules}) as place:
        assert place.run(look) == 0
        place.apply({"devices": [{"allow": True}]})
        assert place.run(lambda: outcome("/dev/loop0", os.O_RDONLY)) == 0


# -- containers ----------------------------------------------------------------------


def check_containers():
    from containers import run_containers

    run_containers()


def check_the_runtime():
    from runtime import run_container

    group = Group(LAYOUT, "/check/oci")
    life = run_container("/check/oci")
    assert next(life) == "0::/check/oci\n"
    assert read_text(f"{group.directory('')}/memory.max").strip() == str(64 * MIB)
    assert next(life) == "started"
    assert read_text(f"{group.directory('')}/pids.max").strip() == "30"
    assert next(life, None) is None
    assert not group.exists()


def check_the_runtime_tells_of_kills_for_want_of_memory():
    from runtime import watch_memory

    kinds = watch_memory("/check/oom-events")
    assert kinds.count("oom") == 1, kinds
    assert kinds[0] == "stats", kinds
