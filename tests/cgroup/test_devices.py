"""Device programs on the real kernel: the version 2 hierarchy takes them without controllers too."""

import base64
import os
import struct

import pytest

from rundlet.cgroup.files import read_text
from rundlet.cgroup.group import Group
from rundlet.errors import InvalidArgument, PermissionDenied
from rundlet.kernel import bpf
from rundlet.kernel.clone import clone
from rundlet.plan.device_filter import build_device_filter
from rundlet.plan.device_rules import read_rules
from rundlet.plan.knobs import DEVICE_PROGRAM
from rundlet.plan.resources import plan_resources
from rundlet.spec.runtime import DeviceRule, Resources
from tests.cgroup.conftest import find_unified, make_throw_away

pytestmark = pytest.mark.kernel


@pytest.fixture
def unified():
    for group in make_throw_away(find_unified()):
        group.make()
        yield group


def apply(group: Group, *rules: DeviceRule) -> None:
    program = base64.b64encode(build_device_filter(read_rules(rules))).decode()
    group.apply([("devices", DEVICE_PROGRAM, program)])


def attempt(spawn, group, *attempts):
    """In a child inside the group: the errno names, or "ok", of calls in turn."""
    results, writer = os.pipe()

    def work():
        for call in attempts:
            try:
                call()
                os.write(writer, b"ok ")
            except OSError as error:
                os.write(writer, f"{error.strerror} ".replace(" ", "-").encode() + b" ")
        os._exit(0)

    pid = spawn(group, work)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(results) as file:
        return [word.rstrip("-") for word in file.read().split()]


def opening(path, flags=os.O_RDONLY):
    return lambda: os.close(os.open(path, flags))


def making(path, kind, major, minor):
    return lambda: os.mknod(path, kind | 0o600, os.makedev(major, minor))


DENIED = "Operation-not-permitted"


def test_default_devices_and_nothing_else(unified, spawn, tmp_path):
    loop = tmp_path / "loop"
    os.mknod(loop, 0o060600, os.makedev(7, 200))
    apply(unified, DeviceRule(allow=False, access="rwm"))
    found = attempt(
        spawn,
        unified,
        opening("/dev/zero"),
        opening("/dev/null", os.O_RDWR),
        opening("/dev/kmsg"),
        opening(loop),
        making(tmp_path / "made", 0o020000, 10, 200),
    )
    assert found == ["ok", "ok", DENIED, DENIED, "ok"]


def test_one_kind_of_access_alone(unified, spawn):
    apply(unified, DeviceRule(allow=True, type="c", major=1, minor=11, access="r"))
    found = attempt(
        spawn,
        unified,
        opening("/dev/kmsg"),
        opening("/dev/kmsg", os.O_WRONLY),
        opening("/dev/kmsg", os.O_RDWR),
    )
    assert found == ["ok", DENIED, DENIED]


def test_the_new_program_takes_the_place_of_the_old(unified, spawn):
    apply(unified, DeviceRule(allow=False))
    apply(unified, DeviceRule(allow=True))
    assert attempt(spawn, unified, opening("/dev/kmsg")) == ["ok"]
    fd = unified.open_fd()
    assert len(bpf.list_programs(fd)) == 1
    os.close(fd)


def test_a_group_below_cannot_win_back_what_its_parent_denies(unified, spawn):
    below = Group(unified.layout, f"{unified.path}/below")
    below.make()
    apply(unified, DeviceRule(allow=False))
    apply(below, DeviceRule(allow=True))
    assert attempt(spawn, below, opening("/dev/kmsg"), opening("/dev/null")) == [DENIED, "ok"]


def test_zero_can_be_denied_by_a_program_of_ones_own(unified, spawn):
    """A program that always says no: even the default devices, by the kernel's word alone."""
    says_no = struct.pack("=BBhiBBhi", 0xB4, 0, 0, 0, 0x95, 0, 0, 0)
    unified.write("devices", DEVICE_PROGRAM, base64.b64encode(says_no).decode())
    assert attempt(spawn, unified, opening("/dev/zero")) == [DENIED]


def test_what_the_verifier_refuses_is_told_in_its_words(unified):
    endless = struct.pack("=BBhi", 0x95, 0, 0, 0)  # exit without a verdict
    with pytest.raises((InvalidArgument, PermissionDenied), match="R0 !read_ok"):
        unified.write("devices", DEVICE_PROGRAM, base64.b64encode(endless).decode())


def test_a_process_is_born_into_an_open_group(unified):
    fd = unified.open_fd()
    child = clone(cgroup_fd=fd)
    if child.pid == 0:
        os._exit(0 if "/test-" in read_text("/proc/self/cgroup") else 1)
    _, status = os.waitpid(child.pid, 0)
    os.close(child.pidfd)
    os.close(fd)
    assert status == 0


def test_version_1_decides_the_same(group, spawn):
    """The rules of a container on this host's own layout, whichever it is."""
    if group.layout.version != 1 or "devices" not in group.layout.mounts:
        pytest.skip("the version 1 devices controller not on this host")
    group.make()
    resources = Resources(
        devices=[
            DeviceRule(allow=False),
            DeviceRule(allow=True, type="b", major=7, minor=0),
            DeviceRule(allow=True, type="c", major=1, minor=11, access="r"),
            DeviceRule(allow=False, type="b", major=7),
        ]
    )
    group.apply(plan_resources(resources, 1))
    found = attempt(
        spawn, group, opening("/dev/null", os.O_RDWR), opening("/dev/kmsg"), opening("/dev/kmsg", os.O_WRONLY)
    )
    assert found == ["ok", "ok", DENIED]
    listed = read_text(f"{group.directory('devices')}/devices.list")
    assert "b 7:0" not in listed
