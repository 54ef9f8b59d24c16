"""Fields of config.json that few configurations have, on the real kernel."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundlet.errors import FailedPrecondition, NotFound, PermissionDenied
from rundlet.keeper.client import Keeper
from rundlet.netlink.address import IpInterface, list_addresses, parse_address
from rundlet.netlink.link import get_link, parse_link
from rundlet.netlink.socket import NetlinkSocket
from rundlet.plan.container import CgroupPlan, ContainerPlan
from rundlet.plan.planner import Host, plan_container, plan_process
from rundlet.spec import runtime as spec
from tests.keeper.bundle import PATH, config, plan
from tests.keeper.conftest import read_log
from tests.keeper.test_containers import exec_output
from tests.runtime.configs import in_user_namespace, own_tree, with_linux, with_mounts, with_namespace

pytestmark = pytest.mark.kernel

Run = Callable[..., Any]
ALL = ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_NICE", "CAP_SYS_TIME"]
SETS = spec.Capabilities(bounding=ALL, effective=ALL, permitted=ALL)


def shell(script: str, **process: Any) -> spec.RuntimeConfig:
    return config("sh", "-c", script, **process)


# -- namespaces ----------------------------------------------------------------


@pytest.mark.parametrize("user", [False, True])
def test_a_time_namespace_with_offsets(run: Run, bundle: Path, user: bool) -> None:
    plain = in_user_namespace("cat", "/proc/uptime") if user else config("cat", "/proc/uptime")
    if user:
        own_tree(bundle / "rootfs", 200_000)
    shifted = with_linux(
        with_namespace(plain, "time"),
        time_offsets={"boottime": spec.TimeOffset(1_000_000), "monotonic": spec.TimeOffset(5, 7)},
    )
    outcome = run(shifted)
    assert float(outcome.stdout.split()[0]) > 1_000_000


def test_a_time_namespace_joined_by_path(keeper: Keeper, bundle: Path, run: Run) -> None:
    shifted = with_linux(
        with_namespace(config("sleep", "100"), "time"), time_offsets={"boottime": spec.TimeOffset(1_000_000)}
    )
    pid = keeper.create(plan("first", shifted, bundle))
    keeper.start("first")
    outcome = run(with_namespace(config("cat", "/proc/uptime"), "time", f"/proc/{pid}/ns/time"))
    assert float(outcome.stdout.split()[0]) > 1_000_000
    code, text = exec_output(
        keeper_view(keeper, "first"), plan_process(config("cat", "/proc/uptime").process, Host(-1))
    )
    assert code == 0
    assert float(text.split()[0]) > 1_000_000


class keeper_view:  # noqa: N801 - reads as the keeper that it stands for
    """`exec_output` asks for container "c"."""

    def __init__(self, keeper: Keeper, container_id: str) -> None:
        self._keeper = keeper
        self._id = container_id

    def exec(self, _: str, process: Any, **fds: int) -> Any:
        return self._keeper.exec(self._id, process, **fds)


def test_a_mount_namespace_joined_by_path(keeper: Keeper, bundle: Path, run: Run) -> None:
    pid = keeper.create(
        plan(
            "first",
            shell("read _"),
            bundle,
        ),
        stdin=True,
    )
    joined = with_namespace(
        shell("echo x >/tmp/seen; readlink /proc/self/ns/mnt"), "mount", f"/proc/{pid}/ns/mnt"
    )
    with pytest.raises(FailedPrecondition):
        run(joined)  # the other container's files are all that is there: no such rootfs


def test_a_mount_namespace_with_the_bundle_in_sight(run: Run) -> None:
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", "echo ready; exec sleep 100"], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        joined = with_namespace(
            shell("readlink /proc/self/ns/mnt; ls /"), "mount", f"/proc/{holder.pid}/ns/mnt"
        )
        expected = os.readlink(f"/proc/{holder.pid}/ns/mnt")
        outcome = run(joined)
        holder.kill()
    assert outcome.stdout.split()[0] == expected
    assert "work" not in outcome.stdout.split()


def test_a_pid_namespace_joined_by_a_container_with_a_helper(keeper: Keeper, bundle: Path, run: Run) -> None:
    pid = keeper.create(plan("first", config("sleep", "100"), bundle))
    keeper.start("first")
    shifted = with_namespace(shell("readlink /proc/self/ns/pid"), "time")
    outcome = run(with_namespace(shifted, "pid", f"/proc/{pid}/ns/pid"))
    assert outcome.stdout.strip() == os.readlink(f"/proc/{pid}/ns/pid")


def test_domainname(run: Run) -> None:
    outcome = run(shell("cat /proc/sys/kernel/domainname").replace(domainname="example.org"))
    assert outcome.stdout == "example.org\n"


@pytest.mark.parametrize("user", [False, True])
def test_network_devices_move_with_their_addresses(
    keeper: Keeper, bundle: Path, tmp_path: Path, user: bool
) -> None:
    import ipaddress

    name = f"host{user:d}"  # the kernel takes a veth of an ended namespace away when it finds time
    ip("link", "add", name, "type", "veth", "peer", "name", f"far{user:d}")
    ip("address", "add", "192.0.2.7/24", "dev", name)
    if user:
        own_tree(bundle / "rootfs", 200_000)
    plain = in_user_namespace("sleep", "100") if user else config("sleep", "100")
    moved = with_linux(plain, net_devices={name: spec.NetDevice("inside0")})
    pid = keeper.create(plan("c", moved, bundle))
    with NetlinkSocket() as route, pytest.raises(NotFound):
        route.query(get_link(name))
    found, up, addresses = read_device(pid, "inside0")
    assert (found, up) == ("inside0", True)
    assert ipaddress.ip_interface("192.0.2.7/24") in addresses


def ip(*words: str) -> None:
    tool = shutil.which("ip")
    if tool is None:
        pytest.skip("iproute2 is not on this host")
    subprocess.run([tool, *words], check=True)


def read_device(pid: int, name: str) -> tuple[str, bool, list[IpInterface]]:
    """Of another process's network namespace, from a thread that goes there."""
    from concurrent.futures import ThreadPoolExecutor

    from rundlet.kernel import namespace

    def look() -> tuple[str, bool, list[IpInterface]]:
        namespace.join(f"/proc/{pid}/ns/net", namespace.CLONE_NEWNET)
        with NetlinkSocket() as route:
            link = parse_link(route.query(get_link(name)))
            found = map(parse_address, route.dump(list_addresses(link.ifindex)))
            return link.name, link.up, [address.ip for address in found if address.ifindex == link.ifindex]

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(look).result()


def test_a_missing_network_device_is_named(keeper: Keeper, bundle: Path) -> None:
    with pytest.raises(NotFound, match="nodev0"):
        keeper.create(plan("c", with_linux(config("true"), net_devices={"nodev0": spec.NetDevice()}), bundle))
    assert keeper.list() == {}


# -- the process ---------------------------------------------------------------


def test_the_size_of_the_terminal(run: Run) -> None:
    outcome = run(config("stty", "size", terminal=True, console_size=spec.ConsoleSize(33, 99)))
    assert outcome.stdout.split() == ["33", "99"]


def test_scheduler_nice_and_io_priority(run: Run) -> None:
    outcome = run(
        shell(
            "cat /proc/self/stat | sed 's/.*) //' | cut -d' ' -f17,39; grep -c . /proc/self/sched",
            scheduler=spec.Scheduler("SCHED_BATCH", nice=7),
            io_priority=spec.IoPriority("IOPRIO_CLASS_IDLE", 0),
        )
    )
    nice, policy = outcome.stdout.split()[:2]
    assert (nice, policy) == ("7", "3")


def test_a_realtime_scheduler(run: Run) -> None:
    if os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        pytest.skip("real-time processes need a cgroup with a budget on this host")
    outcome = run(
        config(
            "cat",
            "/proc/self/stat",
            scheduler=spec.Scheduler("SCHED_RR", priority=10, flags=["SCHED_FLAG_RESET_ON_FORK"]),
            capabilities=SETS,
        )
    )
    fields = outcome.stdout.rpartition(")")[2].split()
    assert (fields[37], fields[38]) == ("10", "2")


def test_personality_linux32(run: Run) -> None:
    outcome = run(with_linux(config("uname", "-m"), personality=spec.Personality("LINUX32")))
    assert outcome.stdout.strip() in {"i686", "armv8l"}


def test_memory_policy(run: Run) -> None:
    policy = spec.MemoryPolicy("MPOL_INTERLEAVE", "0", ["MPOL_F_STATIC_NODES"])
    outcome = run(with_linux(config("cat", "/proc/self/numa_maps"), memory_policy=policy))
    assert "interleave=static:0" in outcome.stdout


def test_exec_affinity_and_attributes(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("sleep", "100"), bundle))
    keeper.start("c")
    last = max(os.sched_getaffinity(0))
    command = config(
        "grep", "Cpus_allowed_list", "/proc/self/status",
        exec_cpu_affinity=spec.CpuAffinity(initial=str(min(os.sched_getaffinity(0))), final=f"{last}-{last}"),
    ).process  # fmt: skip
    assert command is not None
    assert exec_output(keeper, plan_process(command, Host(-1)))[1].split() == [
        "Cpus_allowed_list:",
        str(last),
    ]
    linux = spec.Linux(personality=spec.Personality("LINUX32"))
    code, text = exec_output(keeper, plan_process(config("uname", "-m").process, Host(-1), linux=linux))
    assert (code, text.strip() in {"i686", "armv8l"}) == (0, True)


def test_oom_score_and_limits(run: Run) -> None:
    limits = [
        spec.Rlimit("RLIMIT_CORE", 0, 0),
        spec.Rlimit("RLIMIT_NPROC", 50, 60),
        spec.Rlimit("RLIMIT_AS", 1 << 30, 1 << 31),
    ]
    outcome = run(
        shell(
            "cat /proc/self/oom_score_adj; ulimit -c; grep processes /proc/self/limits; ulimit -v",
            oom_score_adj=300,
            rlimits=limits,
        )
    )
    assert outcome.stdout.split() == ["300", "0", "Max", "processes", "50", "60", "processes", str(1 << 20)]


def test_a_lower_oom_score_than_allowed_is_no_failure(run: Run) -> None:
    outcome = run(config("cat", "/proc/self/oom_score_adj", oom_score_adj=-500))
    assert outcome.stdout.strip() in {"-500", Path("/proc/self/oom_score_adj").read_text().strip()}


def test_a_hard_limit_that_cannot_be_raised_is_named(keeper: Keeper, bundle: Path) -> None:
    import resource

    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] == 1 << 30 or not lacks_sys_resource():
        pytest.skip("root may raise every limit on this host")
    too_high = [spec.Rlimit("RLIMIT_NOFILE", 1024, 1 << 30)]
    with pytest.raises(PermissionDenied, match="RLIMIT_NOFILE"):
        keeper.create(plan("c", config("true", rlimits=too_high), bundle))


def lacks_sys_resource() -> bool:
    from rundlet.kernel.capability import NUMBERS, read_sets

    return not read_sets()["effective"] >> NUMBERS["CAP_SYS_RESOURCE"] & 1


def test_without_a_process_it_is_created_and_cannot_be_started(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", config("true").replace(process=None), bundle))
    assert keeper.state("c").status == "created"
    for _ in range(2):
        with pytest.raises(FailedPrecondition, match="no process to start"):
            keeper.start("c")
    assert keeper.state("c").status == "created"


@pytest.mark.parametrize(
    ("args", "path", "expected"),
    [
        (["tool"], "/first:/second", "second"),  # not executable in the first
        (["./second/tool"], "/nowhere", "second"),
        (["tool"], "/nowhere", NotFound),
        (["tool"], "/first", PermissionDenied),
        (["tool"], "/closed", PermissionDenied),
        (["/bin"], "/bin", PermissionDenied),
        ([""], "/bin", NotFound),
        (["/bin/sh/x"], "/bin", NotFound),
    ],
)
def test_the_program_is_found_with_the_users_rights(
    run: Run, bundle: Path, args: list[str], path: str, expected: Any
) -> None:
    for name, mode in (("first", 0o644), ("second", 0o755), ("closed", 0o755)):
        (bundle / "rootfs" / name).mkdir()
        tool = bundle / "rootfs" / name / "tool"
        tool.write_text(f"#!/bin/sh\necho {name}\n")
        tool.chmod(mode)
    (bundle / "rootfs/closed").chmod(0o700)
    configuration = config(*args, env=[PATH, f"PATH={path}:"], user=spec.User(uid=1000))
    if isinstance(expected, str):
        assert run(configuration).stdout == f"{expected}\n"
    else:
        with pytest.raises(expected):
            run(configuration)


# -- mounts --------------------------------------------------------------------


def test_tmpcopyup_starts_with_what_it_covers(run: Run, bundle: Path) -> None:
    data = bundle / "rootfs/data"
    (data / "sub").mkdir(parents=True)
    (data / "sub/file").write_text("text\n")
    (data / "sub/file").chmod(0o604)
    os.chown(data / "sub/file", 5, 6)
    os.symlink("sub/file", data / "link")
    data.chmod(0o711)
    script = "cat /data/link; stat -c '%a %u:%g' /data/sub/file /data; echo x >/data/new; cat /data/new; touch /ro/x"
    mounts = [
        spec.Mount("/data", "tmpfs", "tmpfs", ["tmpcopyup", "size=1m"]),
        spec.Mount("/ro", "tmpfs", "tmpfs", ["tmpcopyup", "ro"]),
    ]
    outcome = run(with_mounts(shell(script), *mounts))
    assert outcome.stdout.split("\n")[:-1] == ["text", "604 5:6", "711 0:0", "x"]
    assert "Read-only" in outcome.stderr
    assert not (data / "new").exists()


def test_recursive_options_hold_for_the_mounts_below(run: Run, tmp_path: Path) -> None:
    from rundlet.kernel import mount

    volume = tmp_path / "volume"
    (volume / "below").mkdir(parents=True)
    mount.mount("tmpfs", str(volume / "below"), "tmpfs")
    try:
        script = "touch /all/below/x; touch /top/below/y; grep -c ' /all.* ro,.*noexec' /proc/mounts"
        mounts = [
            spec.Mount("/all", str(volume), "bind", ["rbind", "rro", "rnoexec"]),
            spec.Mount("/top", str(volume), "none", ["rbind", "ro"]),
        ]
        outcome = run(with_mounts(shell(script), *mounts))
        assert outcome.stderr.count("Read-only") == 1
        assert outcome.stdout.strip() == "2"
        assert os.listdir(volume / "below") == ["y"]
    finally:
        mount.umount(str(volume / "below"), mount.MNT_DETACH)


def test_every_option_of_a_bind_is_taken(run: Run, tmp_path: Path) -> None:
    from rundlet.plan.mounts import option_names

    skipped = {"bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup", "mand"}
    names = [name for name in option_names() if name not in skipped]
    for name in names:
        (tmp_path / "volumes" / name).mkdir(parents=True)
    mounts = [
        spec.Mount(f"/v/{name}", str(tmp_path / "volumes" / name), "bind", ["rbind", name]) for name in names
    ]
    outcome = run(with_mounts(config("grep", " /v/", "/proc/mounts"), *mounts))
    shown = {
        line.split()[1].removeprefix("/v/"): line.split()[3].split(",")
        for line in outcome.stdout.splitlines()
    }
    assert shown.keys() == set(names)
    for name in ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"):
        assert name in shown[name]
        assert name in shown[f"r{name}"]
        assert name not in shown["defaults"]


def test_a_source_relative_to_the_bundle_and_a_remount(run: Run, bundle: Path) -> None:
    (bundle / "data").mkdir()
    mounts = [
        spec.Mount("/data", "data", "none", ["bind"]),
        spec.Mount("/data", "none", "none", ["bind", "remount", "ro", "nosuid"]),
    ]
    outcome = run(with_mounts(shell("grep ' /data ' /proc/mounts; touch /data/x"), *mounts))
    assert " ro,nosuid" in outcome.stdout
    assert "Read-only" in outcome.stderr


@pytest.mark.parametrize("namespaced", [False, True])
def test_the_cgroup_file_systems(keeper: Keeper, bundle: Path, tmp_path: Path, namespaced: bool) -> None:
    from rundlet.cgroup.group import Group
    from rundlet.cgroup.layout import detect_layout

    layout = detect_layout()
    group = Group(layout, "/rundlet-test/c")
    directories = group.directories()
    plain = with_mounts(
        shell(
            "ls /sys/fs/cgroup; cat /sys/fs/cgroup/memory/tasks; mkdir /sys/fs/cgroup/memory/x; cut -d: -f3 /proc/self/cgroup"
        ),
        spec.Mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro", "nosuid", "noexec", "nodev"]),
    )
    configuration = with_namespace(plain, "cgroup") if namespaced else plain
    planned = planned_with(
        configuration, bundle, directories if layout.version == 1 else {"": directories[""]}
    )
    log = tmp_path / "log"
    keeper.create(planned, log_path=str(log))
    keeper.start("c")
    assert keeper.wait("c", 10) is not None
    if layout.version == 1:
        shown, error = read_log(log, "stdout").split(), read_log(log, "stderr")
        assert {"memory", "pids", "cpu"} <= set(shown)
        assert "1" in shown
        assert "Read-only" in error
        assert ("/rundlet-test/c" in shown) is not namespaced


def planned_with(configuration: spec.RuntimeConfig, bundle: Path, cgroups: dict[str, str]) -> ContainerPlan:
    return plan_container(
        "c", configuration, Host(-1, cgroups), bundle=str(bundle), cgroup=CgroupPlan("/rundlet-test/c")
    )


@pytest.mark.parametrize(("value", "shown"), [("shared", "shared:"), ("rslave", "master:"), ("private", "")])
def test_root_propagation(run: Run, value: str, shown: str) -> None:
    outcome = run(
        with_linux(
            shell("grep ' / / ' /proc/self/mountinfo || cat /proc/self/mountinfo"), rootfs_propagation=value
        )
    )
    optional = outcome.stdout.splitlines()[0].split(" - ")[0]
    assert (shown in optional) if shown == "shared:" else ("shared:" not in optional)


# -- seccomp -------------------------------------------------------------------


def test_a_seccomp_agent_gets_the_listener_and_the_state(
    keeper: Keeper, bundle: Path, tmp_path: Path
) -> None:
    import fcntl
    import json
    import struct

    from rundlet.plan.planner import Filter
    from rundlet.plan.seccomp import compile_seccomp

    agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    agent.bind(str(tmp_path / "agent"))
    agent.listen()
    profile = spec.Seccomp(
        "SCMP_ACT_ALLOW",
        listener_path=str(tmp_path / "agent"),
        listener_metadata="about it",
        syscalls=[spec.SeccompSyscall(["mkdir"], "SCMP_ACT_NOTIFY")],
    )
    program = compile_seccomp(profile)
    configuration = with_linux(
        shell("mkdir /tmp/made || echo refused", no_new_privileges=True), seccomp=profile
    )
    log = tmp_path / "log"
    pid = keeper.create(
        plan("c", configuration, bundle, seccomp=Filter(program.filter, program.flags)), log_path=str(log)
    )
    keeper.start("c")
    connection, _ = agent.accept()
    raw, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
    state = json.loads(raw)
    assert state["fds"] == ["seccompFd"]
    assert (state["pid"], state["metadata"]) == (pid, "about it")
    assert (state["state"]["id"], state["state"]["pid"]) == ("c", pid)
    notification = bytearray(80)  # struct seccomp_notif
    fcntl.ioctl(fds[0], 0xC0502100, notification)  # SECCOMP_IOCTL_NOTIF_RECV
    answer = struct.pack("=QqiI", struct.unpack_from("=Q", notification)[0], 0, -13, 0)
    fcntl.ioctl(fds[0], 0xC0182101, bytearray(answer))  # SECCOMP_IOCTL_NOTIF_SEND
    assert keeper.wait("c", 10) is not None
    assert read_log(log, "stdout") == "refused\n"
    for each in (connection, agent):
        each.close()
    os.close(fds[0])


def test_nobody_listens_for_seccomp(keeper: Keeper, bundle: Path) -> None:
    profile = spec.Seccomp(
        "SCMP_ACT_ALLOW",
        listener_path="/no/agent",
        syscalls=[spec.SeccompSyscall(["mkdir"], "SCMP_ACT_NOTIFY")],
    )
    with pytest.raises(FailedPrecondition, match="listenerPath /no/agent"):
        keeper.create(plan("c", with_linux(config("true"), seccomp=profile), bundle))


def test_intel_rdt_is_refused_clearly_where_the_host_has_none(keeper: Keeper, bundle: Path) -> None:
    if os.path.exists("/sys/fs/resctrl/tasks"):
        pytest.skip("this host has resctrl")
    wanted = with_linux(config("true"), intel_rdt=spec.IntelRdt("guaranteed", ["L3:0=ff"]))
    with pytest.raises(FailedPrecondition, match=r"linux\.intelRdt: /sys/fs/resctrl"):
        keeper.create(plan("c", wanted, bundle))
