"""Containers of busybox by the keeper, on version 2."""

import os
import shutil

from rundlet.cgroup.files import read_text
from rundlet.cgroup.layout import detect_layout
from rundlet.cgroup.systemd import open_group
from rundlet.keeper.client import Keeper
from rundlet.kernel.capability import read_sets
from rundlet.plan.container import CgroupPlan
from rundlet.plan.planner import Host, plan_container, plan_process
from rundlet.plan.resources import plan_resources
from rundlet.plan.unit import plan_unit
from rundlet.spec import runtime as spec
from rundlet.spec.model import from_json

MIB = 1 << 20
LIMITS = {
    "memory": {"limit": 24 * MIB, "swap": 24 * MIB},
    "pids": {"limit": 20},
    "cpu": {"shares": 2048, "quota": 80000, "period": 100000},
    "devices": [{"allow": False}],
}
MOUNTS = [
    spec.Mount("/proc", "proc", "proc"),
    spec.Mount("/dev", "tmpfs", "tmpfs", ["nosuid", "mode=755", "size=1m"]),
    spec.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro"]),
]
APPLETS = "sh cat sleep tail mknod".split()


def make_bundle():
    os.makedirs("/run/bundle/rootfs/bin", exist_ok=True)
    shutil.copy("/bin/busybox", "/run/bundle/rootfs/bin/busybox")
    for name in APPLETS:
        os.symlink("busybox", f"/run/bundle/rootfs/bin/{name}")


def make_config(*argv):
    names = ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
    sets = spec.Capabilities(bounding=names, effective=names, permitted=names)
    process = spec.Process(cwd="/", args=list(argv), env=["PATH=/bin"], capabilities=sets)
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup")
    return spec.RuntimeConfig(
        oci_version="1.2.0",
        root=spec.Root("rootfs"),
        process=process,
        mounts=MOUNTS,
        linux=spec.Linux(namespaces=[spec.Namespace(kind) for kind in kinds]),
    )


def make_plan(name, *argv, unit=""):
    """In the group /check/NAME, or in the scope `unit` (slice:prefix:name)."""
    resources = from_json(spec.Resources, LIMITS, "resources")
    group = open_group(detect_layout(), unit or f"/check/{name}")
    writes = (*(plan_unit(resources, 2) if unit else ()), *plan_resources(resources, 2))
    host = Host(read_sets()["bounding"], {"": group.directory("")})
    cgroup = CgroupPlan(unit or group.path, tuple(map(tuple, writes)))
    return plan_container(name, make_config(*argv), host, bundle="/run/bundle", cgroup=cgroup)


def run_containers():
    make_bundle()
    keeper = Keeper("/run/keeper")
    _check_limits(keeper)
    _check_out_of_memory(keeper)
    keeper.close()


def _run(keeper, name, argv):
    """Exit record and log of a command in the running container `name`."""
    process = plan_process(make_config(*argv).process, Host(read_sets()["bounding"]))
    reader, writer = os.pipe()
    handle = keeper.exec(name, process, stdout_fd=writer, stderr_fd=writer)
    os.close(writer)
    with os.fdopen(reader) as output:
        text = output.read()
    return handle.wait(30), text


def _check_limits(keeper):
    pid = keeper.create(make_plan("one", "sleep", "100"))
    keeper.start("one")
    assert read_text(f"/proc/{pid}/cgroup") == "0::/check/one\n"
    script = (
        "cat /proc/self/cgroup; cd /sys/fs/cgroup; cat memory.max memory.swap.max pids.max cpu.max cpu.weight"
    )
    record, text = _run(keeper, "one", ("sh", "-c", script))
    assert record.exit_code == 0, text
    assert text.split() == ["0::/", str(24 * MIB), "0", "20", "80000", "100000", "174"], text
    script = "cat /dev/null && mknod /dev/kmsg c 1 11 && cat /dev/kmsg"
    record, text = _run(keeper, "one", ("sh", "-c", script))
    assert record.exit_code == 1, text
    assert "Operation not permitted" in text, text
    keeper.delete("one")
    assert not os.path.exists("/sys/fs/cgroup/check/one")


def _check_out_of_memory(keeper):
    keeper.create(make_plan("two", "tail", "/dev/zero"))
    keeper.start("two")
    record = keeper.wait("two", 30)
    assert record.oom_killed, record
    assert record.exit_code == 137, record
    keeper.delete("two")


def run_in_scope():
    """A container of the keeper in a scope of systemd's; what /proc says of its group."""
    make_bundle()
    keeper = Keeper("/run/keeper")
    pid = keeper.create(make_plan("scoped", "sleep", "100", unit="machine.slice:rundlet:scoped"))
    keeper.start("scoped")
    yield read_text(f"/proc/{pid}/cgroup")
    record, text = _run(keeper, "scoped", ("cat", "/sys/fs/cgroup/memory.max"))
    assert (record.exit_code, text) == (0, f"{24 * MIB}\n"), (record, text)
    keeper.delete("scoped")
    keeper.close()
