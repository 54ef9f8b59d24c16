"""A bundle with Debian's busybox as its whole rootfs, and configurations for it."""

import os
import shutil
from pathlib import Path

import pytest

from rundlet.kernel.capability import read_sets
from rundlet.plan.container import CgroupPlan, ContainerPlan
from rundlet.plan.planner import Filter, Host, plan_container
from rundlet.spec import runtime as spec

APPLETS = "sh cat ls id sleep true false echo env pwd mount ps kill head tail dd stat readlink touch mkdir ulimit tty stty hostname grep sed cut uname chown rm".split()
PATH = "PATH=/usr/bin:/bin"


def make_rootfs(directory: Path) -> Path:
    """A directory with /bin/busybox and its applets; skips by name where the host has none."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox-static is not on this host")
    rootfs = directory / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin/busybox")
    for applet in APPLETS:
        os.link(rootfs / "bin/busybox", rootfs / "bin" / applet)
    (rootfs / "etc").mkdir()
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nbob:x:1000:1000::/home/bob:/bin/sh\n")
    (rootfs / "tmp").mkdir(mode=0o777)
    (rootfs / "tmp").chmod(0o1777)
    return rootfs


MOUNTS = [
    spec.Mount("/proc", "proc", "proc"),
    spec.Mount("/dev", "tmpfs", "tmpfs", ["nosuid", "mode=755", "size=1m"]),
    spec.Mount(
        "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    ),
    spec.Mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
]
NAMESPACES = [spec.Namespace(kind) for kind in ("pid", "network", "ipc", "uts", "mount")]


def config(*args: str, **process: object) -> spec.RuntimeConfig:
    """A plain configuration that runs `args`; `process` replaces fields of its process."""
    run = spec.Process(cwd="/", args=list(args), env=[PATH])
    return spec.RuntimeConfig(
        oci_version="1.2.0",
        root=spec.Root("rootfs"),
        process=run.replace(**process),
        mounts=list(MOUNTS),
        hostname="box",
        linux=spec.Linux(namespaces=list(NAMESPACES)),
    )


def plan(
    container_id: str,
    configuration: spec.RuntimeConfig,
    bundle: Path,
    *,
    writes: tuple[tuple[str, str, str], ...] = (),
    seccomp: Filter | None = None,
) -> ContainerPlan:
    """The plan of a configuration, in a cgroup of its own."""
    host = Host(read_sets()["bounding"])
    cgroup = CgroupPlan(f"/rundlet-test/{container_id}", writes)
    return plan_container(
        container_id, configuration, host, bundle=str(bundle), cgroup=cgroup, seccomp=seccomp
    )
