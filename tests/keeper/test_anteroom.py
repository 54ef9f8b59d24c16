"""Where containers of a keeper begin: on few mounts, whatever the host has."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rundlet.kernel import namespace
from rundlet.kernel.clone import clone
from rundlet.plan.container import ContainerPlan
from rundlet.runtime.anteroom import fits, make_anteroom
from rundlet.spec import runtime as spec
from tests.keeper.bundle import MOUNTS, NAMESPACES, config, plan
from tests.keeper.conftest import Outcome

_SYS_ADMIN = ["CAP_SYS_ADMIN"]
ADMIN = spec.Capabilities(bounding=_SYS_ADMIN, effective=_SYS_ADMIN, permitted=_SYS_ADMIN)


def have(*mounts: spec.Mount, **fields: object) -> spec.RuntimeConfig:
    return config("true").replace(mounts=[*MOUNTS, *mounts], **fields)


@pytest.mark.parametrize(
    ("wanted", "fit"),
    [
        (have(), True),
        (have(spec.Mount("/data", "/srv", "bind", ["rbind", "rslave"])), True),
        (have(spec.Mount("/data", "/dev/vdz", "ext4")), False),
        (have(spec.Mount("/data", "overlay", "overlay", ["lowerdir=/srv/a:/srv/b"])), False),
        (have(spec.Mount("/proc", "none", "none", ["remount", "ro"])), False),
        (have(hooks=spec.Hooks(create_container=[spec.Hook("/bin/true")])), False),
    ],
)
def test_what_looks_at_the_hosts_files_begins_on_the_hosts_mounts(
    wanted: spec.RuntimeConfig, fit: bool, tmp_path: Path
) -> None:
    made: ContainerPlan = plan("c", wanted, tmp_path)
    assert fits(made) == fit


def report(action: Callable[[], str]) -> str:
    """What a child of this process says, which has one thread."""
    read_fd, write_fd = os.pipe()
    child = clone()
    if child.pid == 0:
        try:
            os.write(write_fd, action().encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    os.close(child.pidfd)
    with open(read_fd, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(child.pid, 0)
    return said


@pytest.mark.kernel
def test_the_anteroom_has_three_mounts_and_its_maker_comes_home() -> None:
    def make() -> str:
        before = os.readlink("/proc/self/ns/mnt"), os.stat("/").st_ino, sorted(os.listdir("/"))
        fd = make_anteroom()
        if fd < 0:
            return "none"
        same = before == (os.readlink("/proc/self/ns/mnt"), os.stat("/").st_ino, sorted(os.listdir("/")))
        namespace.setns(fd, namespace.CLONE_NEWNS)
        places = sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        return f"{same} {' '.join(places)}"

    said = report(make)
    if said == "none":
        pytest.skip("overlayfs takes no layers by descriptor on this host (Linux 6.13)")
    assert said == "True / /dev /proc"


@contextmanager
def shared_volume(path: Path) -> Iterator[Path]:
    """A mount of the host that is shared with whoever gets a copy of it."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "volume", path], check=True)
    subprocess.run(["mount", "--make-shared", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("options", "propagation", "out"),
    [(["rbind"], "", False), (["rbind", "rslave"], "", False), (["rbind", "rshared"], "rshared", True)],
)
def test_a_mount_that_a_container_makes_shows_on_the_host_only_where_that_is_asked_for(
    run: Callable[..., Outcome], tmp_path: Path, options: list[str], propagation: str, out: bool
) -> None:
    with shared_volume(tmp_path / "volume") as volume:
        (volume / "inner").mkdir()
        script = "mount -t tmpfs inner /volume/inner && touch /volume/inner/made && echo done"
        wanted = config("sh", "-c", script, capabilities=ADMIN)
        wanted = wanted.replace(mounts=[*MOUNTS, spec.Mount("/volume", str(volume), "bind", options)])
        assert wanted.linux is not None
        outcome = run(wanted.replace(linux=wanted.linux.replace(rootfs_propagation=propagation)))
        assert (outcome.stdout, outcome.stderr) == ("done\n", "")
        assert (volume / "inner/made").exists() == out
        if out:
            subprocess.run(["umount", volume / "inner"], check=True)


@pytest.mark.kernel
def test_a_mount_made_in_a_user_namespace_does_not_show_on_the_host(
    run: Callable[..., Outcome], tmp_path: Path
) -> None:
    ids = [spec.IdMapping(0, 0, 65536)]
    wanted = config("sh", "-c", "mount -t tmpfs inner /volume/inner && echo done", capabilities=ADMIN)
    assert wanted.linux is not None
    linux = wanted.linux.replace(
        namespaces=[*NAMESPACES, spec.Namespace("user")], uid_mappings=ids, gid_mappings=ids
    )
    with shared_volume(tmp_path / "volume") as volume:
        (volume / "inner").mkdir()
        bind = spec.Mount("/volume", str(volume), "bind", ["rbind"])
        outcome = run(wanted.replace(linux=linux, mounts=[*MOUNTS, bind]))
        assert (outcome.stdout, outcome.stderr) == ("done\n", "")
        assert not os.path.ismount(volume / "inner")


@pytest.mark.kernel
def test_a_bind_shows_what_the_host_mounts_below_it_later(
    run: Callable[..., Outcome], tmp_path: Path
) -> None:
    with shared_volume(tmp_path / "volume") as volume:
        (volume / "inner").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "inner", volume / "inner"], check=True)
        (volume / "inner/file").write_text("seen\n")
        wanted = config("cat", "/volume/inner/file")
        bind = spec.Mount("/volume", str(volume), "bind", ["rbind", "rslave"])
        try:
            assert run(wanted.replace(mounts=[*MOUNTS, bind])).stdout == "seen\n"
        finally:
            subprocess.run(["umount", volume / "inner"], check=True)
