"""Attacks on the way into a container; each names the class of hole that it plays (SECURITY.md)."""

import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundlet.errors import Error, FailedPrecondition, InvalidArgument
from rundlet.keeper.client import Keeper
from rundlet.plan.process import ProcessPlan
from rundlet.spec import runtime as spec
from tests.keeper.bundle import PATH, config, plan

pytestmark = pytest.mark.kernel

Run = Callable[..., Any]


def with_mounts(configuration: spec.RuntimeConfig, *mounts: spec.Mount) -> spec.RuntimeConfig:
    return configuration.replace(mounts=[*(configuration.mounts or []), *mounts])


def test_the_hosts_interpreter_cannot_be_written_through_proc_self_exe(keeper: Keeper, bundle: Path) -> None:
    """CVE-2019-5736: the first process's executable, opened while it waits, must never become writable."""
    pid = keeper.create(plan("c", config("true"), bundle))
    executable = os.open(f"/proc/{pid}/exe", os.O_PATH)
    keeper.start("c")
    assert keeper.wait("c", 10) is not None
    keeper.delete("c")
    supervisor = keeper.call("version", {}).message["pid"]
    pidfd = os.pidfd_open(supervisor)
    os.kill(supervisor, signal.SIGKILL)  # nobody executes the file any more but the anchor
    assert select.select([pidfd], [], [], 10)[0]
    os.close(pidfd)
    with pytest.raises(OSError, match=r"Read-only file system|Text file busy"):
        os.open(f"/proc/self/fd/{executable}", os.O_WRONLY)
    flags = os.fstatvfs(executable).f_flag
    os.close(executable)
    assert flags & os.ST_RDONLY


def test_a_waiting_container_holds_no_descriptor_of_the_keeper(keeper: Keeper, bundle: Path) -> None:
    """CVE-2024-21626: a leaked descriptor of the host is a way out."""
    pid = keeper.create(plan("c", config("true"), bundle))
    held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    allowed = (
        "/dev/null",
        f"{keeper.run_root}/keeper/containers/c/",
        "socket:",
        f"{keeper.run_root}/keeper/log",
    )
    root_fd = [path for path in held if path == "/"]
    strange = [path for path in held if not path.startswith(allowed) and path != "/"]
    assert strange == []
    assert len(root_fd) <= 1
    assert len([path for path in held if path.startswith("socket:")]) == 1


def test_the_working_directory_must_lie_inside_the_root(keeper: Keeper, bundle: Path) -> None:
    """CVE-2024-21626: a cwd of /proc/self/fd/N."""
    for number in range(3, 12):
        try:
            keeper.create(plan("c", config("pwd", cwd=f"/proc/self/fd/{number}"), bundle))
        except Error:
            continue
        pid = keeper.state("c").pid
        assert os.stat(f"/proc/{pid}/cwd").st_dev != os.stat("/proc/self/cwd").st_dev or os.path.samestat(
            os.stat(f"/proc/{pid}/cwd"), os.stat(f"/proc/{pid}/root")
        )
        keeper.delete("c")


@pytest.mark.parametrize("target", ["/escape", "/deep/escape", "/up"])
def test_a_symlink_in_the_image_cannot_move_a_mount_to_the_host(
    run: Run, bundle: Path, tmp_path: Path, target: str
) -> None:
    """CVE-2021-30465 and its kin: the mount target is a link that the image brought."""
    victim = tmp_path / "victim"
    victim.mkdir()
    rootfs = bundle / "rootfs"
    (rootfs / "deep").mkdir()
    (rootfs / "escape").symlink_to(victim)
    (rootfs / "deep/escape").symlink_to(f"../../../..{victim}")
    (rootfs / "up").symlink_to("../" * 20 + str(victim).lstrip("/"))
    mounted = with_mounts(
        config("sh", "-c", f"touch {target}/x; grep -c volume /proc/self/mountinfo"),
        spec.Mount(target, "tmpfs", "tmpfs"),
    )
    run(mounted)
    assert list(victim.iterdir()) == []


def test_a_fifo_or_device_under_a_masked_path_is_covered(run: Run, bundle: Path) -> None:
    secret = bundle / "rootfs/secret"
    secret.write_text("secret\n")
    (bundle / "rootfs/dir").mkdir()
    (bundle / "rootfs/dir/inner").write_text("secret\n")
    plain = config("sh", "-c", "cat /secret; cat /dir/inner; umount /secret")
    masked = plain.replace(linux=plain.linux.replace(masked_paths=["/secret", "/dir"]))
    assert "secret\n" not in run(masked).stdout


def test_masking_uses_the_hosts_null_device(run: Run, bundle: Path) -> None:
    """CVE-2025-31133: the image replaces /dev/null by a link, hoping to have the link's target mounted."""
    (bundle / "rootfs/etc/shadow").write_text("root-hash\n")
    plain = config("sh", "-c", "cat /proc/kcore | head -c 4; stat -c %t:%T /proc/kcore")
    bare = plain.replace(mounts=[mount for mount in plain.mounts or [] if mount.destination == "/proc"])
    (bundle / "rootfs/dev").mkdir()
    (bundle / "rootfs/dev/null").symlink_to("/etc/shadow")
    masked = bare.replace(linux=bare.linux.replace(masked_paths=["/proc/kcore"]))
    with pytest.raises(FailedPrecondition, match="device /dev/null"):
        run(masked)


def test_sysctl_names_cannot_climb(bundle: Path) -> None:
    for name in ("../../etc/passwd", "/etc/passwd", "..", ""):
        plain = config("true")
        linux = plain.linux.replace(sysctl={name: "1"})
        with pytest.raises(InvalidArgument):
            plan("c", plain.replace(linux=linux), bundle)


@pytest.mark.parametrize("container_id", ["", "..", "a/b", "/x", "a\nb", "x" * 200, ".hidden"])
def test_an_id_cannot_be_a_path(keeper: Keeper, bundle: Path, container_id: str) -> None:
    with pytest.raises(InvalidArgument):
        keeper.create(plan("c", config("true"), bundle)._replace(container_id=container_id))


def test_dumpable_is_off_while_an_exec_joins(keeper: Keeper, bundle: Path) -> None:
    """CVE-2016-9962: a process of the container must not be able to open what the joining one holds."""
    stolen = "for i in 1 2 3 4 5 6 7 8 9; do for p in /proc/[0-9]*; do ls $p/fd/ 2>/dev/null | grep -q 9 && echo $p; done; done"
    user = spec.User(uid=1000)
    keeper.create(plan("c", config("sh", "-c", f"{stolen}; sleep 30", user=user), bundle))
    keeper.start("c")
    for _ in range(5):
        handle = keeper.exec("c", ProcessPlan(("true",), (PATH,), "/"))
        handle.wait(10)
        handle.close()
    keeper.signal("c", signal.SIGKILL)
    assert keeper.wait("c", 10) is not None


def test_a_log_path_that_is_a_symlink_is_refused(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (tmp_path / "log").symlink_to(victim)
    with pytest.raises(Error):
        keeper.create(plan("c", config("true"), bundle), log_path=str(tmp_path / "log"))
    assert not victim.exists()
    assert keeper.list() == {}
