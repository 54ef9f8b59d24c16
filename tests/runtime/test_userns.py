"""Containers in user namespaces, on the real kernel."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rundlet.errors import FailedPrecondition
from rundlet.keeper.client import Keeper
from rundlet.plan.container import CgroupPlan
from rundlet.plan.planner import Host, Overlay, plan_container, plan_process
from rundlet.spec import runtime as spec
from tests.keeper.bundle import config, plan
from tests.keeper.conftest import read_log
from tests.keeper.test_containers import exec_output
from tests.runtime.configs import (
    MAPPINGS,
    ROOT_ID,
    in_user_namespace,
    own_tree,
    with_linux,
    with_mounts,
    with_namespace,
)

pytestmark = pytest.mark.kernel

Run = Callable[..., Any]
ALL = ["CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_NET_ADMIN", "CAP_DAC_OVERRIDE"]
SETS = spec.Capabilities(bounding=ALL, effective=ALL, permitted=ALL)


@pytest.fixture
def bundle(bundle: Path) -> Path:
    own_tree(bundle / "rootfs", ROOT_ID)
    return bundle


def test_root_inside_is_nobody_outside(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; echo x >/dev/stdout; read _"
    pid = keeper.create(
        plan("c", in_user_namespace("sh", "-c", script), bundle), log_path=str(log), stdin=True
    )
    keeper.start("c")
    assert os.stat(f"/proc/{pid}/cmdline").st_uid == ROOT_ID
    fifo = os.open(f"{keeper.run_root}/keeper/containers/c/stdin", os.O_WRONLY)
    os.write(fifo, b"\n")
    os.close(fifo)
    assert keeper.wait("c", 10) is not None
    assert read_log(log, "stdout").split() == ["0", "0", *(["0", str(ROOT_ID), "65536"] * 2), "x"]


def test_all_that_a_container_has_otherwise(run: Run) -> None:
    script = """hostname; stat -c '%t:%T' /dev/null; echo x >/dev/null; cat /proc/mounts | grep -c ' /proc \\| /sys \\| /dev/pts '
        echo 1 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward"""
    outcome = run(in_user_namespace("sh", "-c", script, capabilities=SETS))
    assert outcome.stderr == ""
    assert outcome.stdout.split() == ["box", "1:3", "3", "1"]


def test_another_user_owns_its_output(run: Run) -> None:
    user = spec.User(uid=1000, gid=1000, additional_gids=[7])
    outcome = run(in_user_namespace("sh", "-c", "id -u; id -G; echo x >/dev/stdout", user=user))
    assert outcome.stdout.split("\n") == ["1000", "1000 7", "x", ""]


def test_without_a_network_namespace_sysfs_is_the_hosts(run: Run) -> None:
    plain = in_user_namespace("sh", "-c", "ls /sys | grep -c kernel; echo x >/sys/x")
    assert plain.linux is not None
    kinds = [item for item in plain.linux.namespaces or [] if item.type != "network"]
    outcome = run(with_linux(plain, namespaces=kinds))
    assert outcome.stdout == "1\n"
    assert "x" in outcome.stderr


def test_an_id_that_is_not_mapped_is_named(keeper: Keeper, bundle: Path) -> None:
    user = spec.User(uid=70_000, gid=0)
    with pytest.raises(FailedPrecondition, match=r"process\.user 70000:0: invalid argument"):
        keeper.create(plan("c", in_user_namespace("true", user=user), bundle))


def test_a_terminal(run: Run) -> None:
    outcome = run(
        in_user_namespace("sh", "-c", "tty; stat -c %u /dev/pts/0; test -t 0 && echo yes", terminal=True)
    )
    assert outcome.stdout.replace("\r", "").split() == ["/dev/pts/0", "0", "yes"]


def test_sysctls_masks_and_a_read_only_root(run: Run) -> None:
    protected = with_linux(
        in_user_namespace("sh", "-c", "cat /proc/sys/net/ipv4/ip_forward; ls /proc/acpi; touch /x"),
        sysctl={"net.ipv4.ip_forward": "1"},
        masked_paths=["/proc/acpi", "/proc/kcore"],
        readonly_paths=["/proc/sys"],
    )
    outcome = run(protected.replace(root=spec.Root("rootfs", readonly=True)))
    assert outcome.stdout == "1\n"
    assert "Read-only file system" in outcome.stderr


def test_binds_of_what_the_containers_root_could_not_reach(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "private/volume"
    secret.mkdir(parents=True)
    secret.parent.chmod(0o700)
    (secret / "file").write_text("there\n")
    mount = spec.Mount("/v", str(secret), "bind", ["rbind", "ro"])
    outcome = run(
        with_mounts(in_user_namespace("sh", "-c", "cat /v/file; stat -c %u /v/file; touch /v/x"), mount)
    )
    assert outcome.stdout.split() == ["there", "65534"]
    assert "Read-only" in outcome.stderr


@pytest.mark.parametrize("mappings", [None, MAPPINGS])
def test_idmapped_binds_keep_their_owners(run: Run, tmp_path: Path, mappings: object) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("")
    os.chown(volume / "file", 33, 44)
    options = ["bind"] if mappings else ["bind", "idmap"]
    mount = spec.Mount("/v", str(volume), "bind", options, mappings, mappings)
    outcome = run(with_mounts(in_user_namespace("sh", "-c", "stat -c %u:%g /v/file; touch /v/made"), mount))
    assert outcome.stdout == "33:44\n"
    assert (volume / "made").stat().st_uid == 0


def test_an_idmapped_bind_without_a_user_namespace(run: Run, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    mapping = [spec.IdMapping(0, 1000, 10)]
    mount = spec.Mount("/v", str(volume), "bind", ["bind", "ridmap"], mapping, mapping)
    outcome = run(with_mounts(config("sh", "-c", "stat -c %u:%g /v"), mount))
    assert outcome.stdout == "1000:1000\n"


def test_overlay_layers_keep_their_owners(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    own_tree(bundle / "rootfs", 0)
    (bundle / "rootfs/etc/shared").write_text("")
    os.chown(bundle / "rootfs/etc/shared", 3, 4)
    for name in ("upper", "work", "top"):
        (tmp_path / "snapshot" / name).mkdir(parents=True)
    (bundle / "mnt").mkdir()
    snapshot = tmp_path / "snapshot"
    overlay = Overlay(
        (str(snapshot / "top"), str(bundle / "rootfs")), str(snapshot / "upper"), str(snapshot / "work")
    )
    script = "stat -c %u:%g / /bin/busybox /etc/shared; echo x >/made; chown 5:6 /made; rm /etc/passwd; mkdir -p /a/b"
    configuration = in_user_namespace("sh", "-c", script, capabilities=SETS).replace(root=spec.Root("mnt"))
    planned = plan_container(
        "c",
        configuration,
        Host(-1),
        bundle=str(bundle),
        overlay=overlay,
        cgroup=CgroupPlan("/rundlet-test/c"),
    )
    log = tmp_path / "log"
    keeper.create(planned, log_path=str(log))
    keeper.start("c")
    record = keeper.wait("c", 10)
    assert record is not None
    assert read_log(log, "stderr") == ""
    assert read_log(log, "stdout").split() == ["0:0", "0:0", "3:4"]
    made = (snapshot / "upper/made").stat()
    assert (made.st_uid, made.st_gid) == (5, 6)
    assert (snapshot / "upper/a/b").stat().st_uid == 0


HOLDER = f"""
import sys
from rundlet.runtime.userns import make_user_namespace, read_mappings_of
fd = make_user_namespace(((0, {ROOT_ID}, 1000),), ((0, {ROOT_ID}, 1000),))
print(fd, read_mappings_of(fd), flush=True)
sys.stdin.read()
"""


@contextmanager
def user_namespace() -> Iterator[tuple[str, str]]:
    """The path of a new one, and its mappings; made by a process of one thread, which a test runner is not (clone3)."""
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        fd, mappings = holder.stdout.readline().strip().split(" ", 1)
        try:
            yield f"/proc/{holder.pid}/fd/{fd}", mappings
        finally:
            holder.stdin.close()


def test_a_user_namespace_joined_by_path(run: Run) -> None:
    with user_namespace() as (path, mappings):
        assert mappings == str((((0, ROOT_ID, 1000),), ((0, ROOT_ID, 1000),)))
        script = "readlink /proc/self/ns/user; id -u; echo x >/dev/stdout; hostname"
        outcome = run(with_namespace(config("sh", "-c", script), "user", path))
        assert outcome.stdout.split() == [os.readlink(path), "0", "x", "box"]


def test_exec_enters_the_user_namespace_too(keeper: Keeper, bundle: Path) -> None:
    pid = keeper.create(plan("c", in_user_namespace("sleep", "100"), bundle))
    keeper.start("c")
    process = plan_process(
        config(
            "sh",
            "-c",
            "readlink /proc/self/ns/user; id -u; id -g; echo x >/dev/stdout",
            user=spec.User(uid=5, gid=6),
        ).process,
        Host(-1),
    )
    code, text = exec_output(keeper, process)
    assert (code, text.split()) == (0, [os.readlink(f"/proc/{pid}/ns/user"), "5", "6", "x"])


def test_a_mapping_that_the_kernel_refuses(keeper: Keeper, bundle: Path) -> None:
    overlapping = [spec.IdMapping(0, ROOT_ID, 10), spec.IdMapping(5, ROOT_ID + 50, 10)]
    broken = with_linux(in_user_namespace("true"), uid_mappings=overlapping)
    with pytest.raises(FailedPrecondition, match="uid_map"):
        keeper.create(plan("c", broken, bundle))
    assert keeper.list() == {}
    assert os.listdir(f"{keeper.run_root}/keeper/containers") == []


def test_a_missing_bind_source_is_named(keeper: Keeper, bundle: Path) -> None:
    broken = with_mounts(in_user_namespace("true"), spec.Mount("/v", "/no/such/source", "bind", ["bind"]))
    with pytest.raises(FailedPrecondition, match=r"bind /no/such/source on /v: .*no such file"):
        keeper.create(plan("c", broken, bundle))
    assert keeper.list() == {}


def test_created_then_deleted_leaves_nothing(keeper: Keeper, bundle: Path) -> None:
    keeper.create(plan("c", in_user_namespace("sleep", "100"), bundle))
    keeper.delete("c")
    assert keeper.list() == {}
    assert os.listdir(f"{keeper.run_root}/keeper/containers") == []
