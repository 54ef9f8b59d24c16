"""Checks of the systemd driver beside the real systemd, which is pid 1 of the guest."""

import os
import signal
import time

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.cgroup.layout import detect_layout
from rundlet.cgroup.systemd import Manager, SystemdGroup, is_running
from rundlet.errors import AlreadyExists, InvalidArgument, NotFound
from rundlet.plan.resources import plan_resources
from rundlet.plan.unit import plan_unit
from rundlet.spec.model import from_json
from rundlet.spec.runtime import Resources

MIB = 1 << 20
LAYOUT = detect_layout()
LIMITS = {
    "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB},
    "pids": {"limit": 7},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
    "devices": [{"allow": False}],
}
FILES = {
    "memory.max": str(64 * MIB),
    "memory.low": str(32 * MIB),
    "memory.swap.max": str(32 * MIB),
    "pids.max": "7",
    "cpu.weight": "59",
    "cpu.max": "50000 100000",
    "cpuset.cpus": "0",
}


class Scope:
    """A scope with one process in it; removed at the end of a check."""

    def __init__(self, path, resources=None):
        self.group = SystemdGroup(LAYOUT, path)
        self.group.make()
        self.apply(resources or {})
        self.pid = os.fork()
        if self.pid == 0:
            self._live()
        while self.pid not in self.group.pids():
            time.sleep(0.005)
        self.group.settle()

    def _live(self):
        try:
            for file in self.group.join_files():
                with open(file, "w") as opened:
                    opened.write("0")
            signal.pause()
        finally:
            os._exit(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.group.kill()
        os.waitpid(self.pid, 0)
        self.group.remove()
        assert not self.group.exists()
        assert state(self.group.unit) == "gone"

    def apply(self, resources):
        wanted = from_json(Resources, resources, "resources")
        self.group.apply((*plan_unit(wanted, 2), *plan_resources(wanted, 2)))

    def read(self, file):
        return read_text(f"{self.group.directory('')}/{file}").strip()

    def ask(self, name, interface="Scope"):
        with Manager() as manager:
            return manager.read_property(self.group.unit, interface, name)


def state(unit):
    try:
        with Manager() as manager:
            return manager.read_property(unit, "Unit", "ActiveState")
    except NotFound:
        return "gone"


def check_systemd_runs():
    assert read_text("/proc/1/comm") == "systemd\n"
    assert is_running()
    assert LAYOUT.version == 2


def check_a_scope_lives_and_goes():
    with Scope(":rundlet:one") as scope:
        assert read_text(f"/proc/{scope.pid}/cgroup") == "0::/system.slice/rundlet-one.scope\n"
        assert scope.group.pids() == [scope.pid]
        assert state("rundlet-one.scope") == "active"
        assert scope.ask("Delegate") is True
        assert scope.ask("ControlGroup") == scope.group.path


def check_slices_lie_in_slices():
    with Scope("machine-a-b.slice:rundlet:two") as scope:
        path = "/machine.slice/machine-a.slice/machine-a-b.slice/rundlet-two.scope"
        assert scope.ask("ControlGroup") == path == scope.group.path


def check_limits_are_in_the_unit_and_in_the_files():
    with Scope(":rundlet:limits", LIMITS) as scope:
        assert {file: scope.read(file) for file in FILES} == FILES
        assert scope.ask("MemoryMax") == 64 * MIB
        assert scope.ask("MemorySwapMax") == 32 * MIB
        assert scope.ask("TasksMax") == 7
        assert scope.ask("CPUWeight") == 59
        assert scope.ask("CPUQuotaPerSecUSec") == 500_000
        assert int.from_bytes(scope.ask("AllowedCPUs"), "little") == 1
        assert scope.ask("DevicePolicy") == "strict"
        assert ("/dev/char/1:3", "rwm") in scope.ask("DeviceAllow")


def check_a_reload_leaves_the_limits():
    with Scope(":rundlet:reload", LIMITS) as scope:
        with Manager() as manager:
            manager._call("Reload")
        assert {file: scope.read(file) for file in FILES} == FILES


def check_limits_change_while_it_runs():
    with Scope(":rundlet:update", LIMITS) as scope:
        scope.apply({"memory": {"limit": 128 * MIB, "swap": -1}, "cpu": {"quota": -1, "period": 100000}})
        assert scope.read("memory.max") == str(128 * MIB)
        assert scope.read("memory.swap.max") == "max"
        assert scope.read("cpu.max") == "max 100000"
        assert scope.ask("MemoryMax") == 128 * MIB
        assert scope.read("pids.max") == "7"


def check_devices():
    with Scope(":rundlet:devices", LIMITS) as scope:
        assert scope.group.is_frozen() is False
        pid = os.fork()
        if pid == 0:
            for file in scope.group.join_files():
                with open(file, "w") as opened:
                    opened.write("0")
            os.close(os.open("/dev/null", os.O_RDONLY))
            try:
                os.open("/dev/kmsg", os.O_RDONLY)
            except PermissionError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def check_freeze():
    with Scope(":rundlet:freeze") as scope:
        scope.group.freeze()
        assert scope.group.is_frozen()
        scope.group.thaw()


def check_a_name_is_taken_once():
    with Scope(":rundlet:same"):
        second = SystemdGroup(LAYOUT, ":rundlet:same")
        try:
            second.make()
        except AlreadyExists:
            assert second._holder == 0
            return
        raise AssertionError("the second scope was made")


def check_a_scope_goes_with_its_last_process():
    scope = Scope(":rundlet:last")
    os.kill(scope.pid, signal.SIGKILL)
    os.waitpid(scope.pid, 0)
    deadline = time.monotonic() + 10
    while state("rundlet-last.scope") != "gone" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state("rundlet-last.scope") == "gone"
    scope.group.remove()


def check_what_systemd_refuses_is_told():
    with Scope(":rundlet:refused") as scope:
        try:
            scope.group.apply([("systemd", "NoSuchProperty", '["t", 1]')])
        except InvalidArgument as error:
            assert "NoSuchProperty" in str(error), error
            return
        raise AssertionError("an unknown property was taken")


def check_an_interrupted_start_leaves_no_scope():
    """The holder dies with its parent, and the scope with the holder."""
    pid = os.fork()
    if pid == 0:
        SystemdGroup(LAYOUT, ":rundlet:orphan").make()
        os._exit(0)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 10
    while state("rundlet-orphan.scope") != "gone" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state("rundlet-orphan.scope") == "gone"
    assert not Group(LAYOUT, "/system.slice/rundlet-orphan.scope").exists()


def check_the_runtime_with_systemd():
    from runtime import run_container

    group = SystemdGroup(LAYOUT, "machine.slice:oci:box")
    life = run_container("machine.slice:oci:box", "--systemd-cgroup")
    assert next(life) == "0::/machine.slice/oci-box.scope\n"
    assert state("oci-box.scope") == "active"
    assert read_text(f"{group.directory('')}/memory.max").strip() == str(64 * MIB)
    assert next(life) == "started"
    assert read_text(f"{group.directory('')}/pids.max").strip() == "30"
    with Manager() as manager:
        assert manager.read_property("oci-box.scope", "Scope", "TasksMax") == 30
    assert next(life, None) is None
    assert state("oci-box.scope") == "gone"
    assert not group.exists()


def check_the_keeper_with_systemd():
    from containers import run_in_scope

    life = run_in_scope()
    assert next(life) == "0::/machine.slice/rundlet-scoped.scope\n"
    assert state("rundlet-scoped.scope") == "active"
    assert next(life, None) is None
    assert state("rundlet-scoped.scope") == "gone"
