"""Attacks on what the runtime does with more rights than the container has."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rundlet.errors import Error
from rundlet.keeper.client import Keeper
from rundlet.plan.planner import Host, plan_process
from rundlet.spec import runtime as spec
from tests.keeper.bundle import config, plan
from tests.keeper.test_containers import exec_output
from tests.runtime.configs import in_user_namespace, own_tree, with_linux, with_mounts

pytestmark = pytest.mark.kernel

Run = Callable[..., Any]


def test_tmpcopyup_copies_links_and_never_what_they_point_to(run: Run, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("the host's key")
    data = bundle / "rootfs/data"
    data.mkdir()
    os.symlink(tmp_path / "secret", data / "directory")
    os.symlink(tmp_path / "secret/key", data / "file")
    os.symlink(tmp_path / "secret", bundle / "rootfs/elsewhere")
    script = "cat /data/file /data/directory/key /elsewhere/key; readlink /data/file"
    mounts = [
        spec.Mount("/data", "tmpfs", "tmpfs", ["tmpcopyup"]),
        spec.Mount("/elsewhere", "tmpfs", "tmpfs", ["tmpcopyup"]),
    ]
    outcome = run(with_mounts(config("sh", "-c", script), *mounts))
    assert "the host's key" not in outcome.stdout
    assert outcome.stdout.strip() == str(tmp_path / "secret/key")


@pytest.mark.parametrize("target", ["/dev", "/proc", "/v"])
def test_no_symlink_of_the_rootfs_leads_the_helpers_mounts_to_the_host(
    keeper: Keeper, bundle: Path, tmp_path: Path, target: str
) -> None:
    """CVE-2021-30465 and its kin: the rootfs points a mount's destination somewhere else."""
    victim = tmp_path / "victim"
    victim.mkdir()
    os.symlink(f"../../../../../..{victim}", bundle / "rootfs" / target.strip("/"))
    own_tree(bundle / "rootfs", 200_000)
    volume = tmp_path / "volume"
    volume.mkdir()
    attacked = with_mounts(in_user_namespace("sleep", "100"), spec.Mount("/v", str(volume), "bind", ["bind"]))
    try:
        keeper.create(plan("c", attacked, bundle))
    except Error:
        pass
    assert list(victim.iterdir()) == []
    assert str(victim) not in Path("/proc/self/mountinfo").read_text()


def test_a_device_of_another_number_is_not_bound_into_a_user_namespace(keeper: Keeper, bundle: Path) -> None:
    own_tree(bundle / "rootfs", 200_000)
    wrong = spec.Device("c", "/dev/null", 1, 5)  # the host's /dev/null is 1:3
    with pytest.raises(Error, match="another device"):
        keeper.create(plan("c", with_linux(in_user_namespace("true"), devices=[wrong]), bundle))


def test_hooks_and_program_get_no_descriptor_of_the_helper(keeper: Keeper, bundle: Path) -> None:
    own_tree(bundle / "rootfs", 200_000)
    keeper.create(plan("c", in_user_namespace("sleep", "100"), bundle))
    keeper.start("c")
    command = config("ls", "/proc/1/fd", "/proc/self/fd").process
    assert command is not None
    _, text = exec_output(keeper, plan_process(command, Host(-1)))
    assert text.split() == ["/proc/1/fd:", "0", "1", "2", "/proc/self/fd:", "0", "1", "2", "3"]


def test_the_root_of_a_user_namespace_has_no_rights_on_the_host(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    own_tree(bundle / "rootfs", 200_000)
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    secret.chmod(0o600)
    every = [
        f"CAP_{name}"
        for name in ("SYS_ADMIN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "CHOWN", "MKNOD", "SYS_TIME")
    ]
    sets = spec.Capabilities(bounding=every, effective=every, permitted=every)
    script = "cat /v/secret; chown 5 /v/secret; echo 1 >/proc/sys/kernel/panic; mount -o remount,rw /v; echo x >/v/made"
    mount = spec.Mount("/v", str(tmp_path), "bind", ["bind", "ro"])
    outcome = run(with_mounts(in_user_namespace("sh", "-c", script, capabilities=sets), mount))
    assert outcome.stdout == ""
    assert outcome.stderr.count("\n") == 5
    assert secret.stat().st_uid == 0
    assert not (tmp_path / "made").exists()


def test_a_seccomp_listener_is_not_left_to_the_program(keeper: Keeper, bundle: Path, tmp_path: Path) -> None:
    import socket

    from rundlet.plan.planner import Filter
    from rundlet.plan.seccomp import compile_seccomp

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.bind(str(tmp_path / "agent"))
        agent.listen()
        profile = spec.Seccomp(
            "SCMP_ACT_ALLOW",
            listener_path=str(tmp_path / "agent"),
            syscalls=[spec.SeccompSyscall(["swapon"], "SCMP_ACT_NOTIFY")],
        )
        program = compile_seccomp(profile)
        pid = keeper.create(
            plan(
                "c",
                with_linux(config("sleep", "100"), seccomp=profile),
                bundle,
                seccomp=Filter(program.filter, program.flags),
            )
        )
        keeper.start("c")
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
